#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Derives mutants from the sources of the core, mechanically.

    tests/bad/mutate.py             lists them
    tests/bad/mutate.py NAME        shows one as a diff

A mutant is one change of one function: a statement deleted or swapped with its neighbour, a comparison
negated or moved, a memory order weakened, a stamp dropped or off by one ... KINDS says which there are.
Its name, FILE:FUNCTION:KIND(TEXT):ORDINAL, is made of the text that it changes, so that it survives edits
elsewhere; the ordinal counts equal texts of a function. No compiler is involved: a tokenizer and a parser
of statements for this tree's own style of C.
"""
import collections
import difflib
import glob
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LAYERS = ("mm", "tlbi", "stage2")

# What each kind does. "order" marks those that only a machine with store buffers, speculation or other
# pCPUs can tell apart: no unit test is expected to.
KINDS = {
    "delete": "an expression statement is gone",
    "delete-check": "a CHECK is gone",
    "delete-case": "a case label is gone",
    "swap": "a statement and the next one change places",
    "negate": "a condition or comparison is the opposite",
    "boundary": "a comparison includes what it excluded, or the other way round",
    "drop": "one operand of && or || no longer counts",
    "drop-bit": "one operand of | is gone",
    "drop-init": "a field of an initializer is left zero",
    "flip": "true and false, or one command and its neighbour, change places",
    "off-by-one": "a stamp, an epoch or a constant 1 is one more or one less",
    "min-max": "min and max, or rounding up and down, change places",
    "skip": "a read-modify-write whose result counts does not write",
    "blind": "a compare-and-swap that does not compare",
    "tear": "an exchange is a read and a write",
    "unlock": "a function does not take its lock",
    "weaken": "acquire or release becomes relaxed",
    "no-fence": "a full barrier is gone",
}
ORDER_KINDS = {"weaken", "no-fence", "tear", "unlock"}

# Fields that say when or whose something is: what is written to them is a stamp.
STAMPS = {"epoch", "run_seq", "generation", "tag", "settled", "owed", "gen", "region", "next_tag", "vmid", "seq"}

# Calls that touch what others see: their order to their neighbours matters.
EFFECTS = re.compile(r"(hw_|atomic_|pte_|frames_|reclaim_|spin_|gather_|agents?_|reader_|space_|tlbi_|kfree|k[zm]alloc|"
                     r"mem(set|cpy)|s2_|list_|block_|table_|leaf_|release|use_)")
REPORTS = re.compile(r"log_\w+$|panic$")
NEIGHBOURS = {
    "HW_TLBI_ROOT": "HW_TLBI_TAG", "HW_TLBI_TAG": "HW_TLBI_ALL_TAGS", "HW_TLBI_ALL_TAGS": "HW_TLBI_TAG",
    "TLBI_NONE": "TLBI_TAG", "TLBI_TAG": "TLBI_NONE", "TLBI_ALL": "TLBI_TAG",
    "GATHER_ABSENT": "GATHER_CHANGED", "GATHER_CHANGED": "GATHER_ABSENT",
    "true": "false", "false": "true",
}
ROUNDING = {"min_u64": "max_u64", "max_u64": "min_u64", "align_up": "align_down", "align_down": "align_up"}
RELATIONS = {"<": ("<=", ">="), "<=": ("<", ">"), ">": (">=", "<="), ">=": (">", "<"), "==": (None, "!="), "!=": (None, "==")}
ASSIGNMENTS = {"=", "+=", "-=", "*=", "/=", "%=", "|=", "&=", "^=", "<<=", ">>="}

TOKEN = re.compile(r"""
    (?P<skip>\s+|/\*.*?\*/|//[^\n]*|^[ \t]*\#(?:\\\n|[^\n])*)
  | (?P<word>[A-Za-z_]\w*)
  | (?P<number>\.?[0-9](?:[eEpP][+-]|[\w.])*)
  | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
  | (?P<op>\.\.\.|<<=|>>=|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%&|^~!=<>?:;,.(){}\[\]])
""", re.S | re.X | re.M)

Token = collections.namedtuple("Token", "text kind start end")
Edit = collections.namedtuple("Edit", "start end text")
CLOSE = {"(": ")", "[": "]", "{": "}"}


class Mutant:
    def __init__(self, path, function, kind, detail, edits, line):
        self.path, self.function, self.kind, self.detail = path, function, kind, detail
        self.edits, self.line = edits, line
        self.name = None

    def apply(self, text):
        for edit in sorted(self.edits, reverse=True):
            gone = text[edit.start:edit.end].count("\n") - edit.text.count("\n")
            text = text[:edit.start] + edit.text + "\n" * max(0, gone) + text[edit.end:]
        return text

    def needs_order(self, texts):
        """Only a machine that delays and reorders can tell: no unit test is expected to."""
        gone = "".join(texts[self.path][e.start:e.end] for e in self.edits)
        return self.kind in ORDER_KINDS or bool(re.search(r"atomic_fence|hw_barrier|spin_(un)?lock", gone)) and self.kind == "swap"

    def diff(self, text):
        lines = difflib.unified_diff(text.splitlines(), self.apply(text).splitlines(), self.path, self.path, n=2, lineterm="")
        return "\n".join(lines)


class Statement:
    """kind: expr, decl, check, jump, case, block, if, for, while, do, switch. Tokens [first, last]."""

    def __init__(self, kind, first, last, children=(), head=None):
        self.kind, self.first, self.last, self.children, self.head = kind, first, last, list(children), head


def tokenize(path, text):
    tokens, at = [], 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if not match:
            raise SyntaxError(f"{path}:{text.count(chr(10), 0, at) + 1}: what is {text[at:at + 20]!r}")
        if match.lastgroup != "skip":
            tokens.append(Token(match.group(), match.lastgroup, match.start(), match.end()))
        at = match.end()
    return tokens


class Source:
    def __init__(self, path, text):
        self.path, self.text = path, text
        self.tokens = tokenize(path, text)
        self.match = self.brackets()
        self.mutants = []
        self.function = None

    def brackets(self):
        match, stack = {}, []
        for i, token in enumerate(self.tokens):
            if token.kind != "op":
                continue
            if token.text in CLOSE:
                stack.append(i)
            elif token.text in CLOSE.values():
                start = stack.pop()
                if CLOSE[self.tokens[start].text] != token.text:
                    raise SyntaxError(f"{self.path}: brackets at offset {token.start}")
                match[start], match[i] = i, start
        return match

    def __getitem__(self, i):
        return self.tokens[i].text if 0 <= i < len(self.tokens) else ""

    def source(self, first, last):
        return self.text[self.tokens[first].start:self.tokens[last].end]

    def squeeze(self, first, last):
        """The tokens as text without spaces or comments: what names are made of."""
        words = [self[i] for i in range(first, last + 1)]
        text = ""
        for word in words:
            text += (" " if text and text[-1].isalnum() and (word[0].isalnum() or word[0] == "_") else "") + word
        text = text.replace(" ", "_")
        return text if len(text) <= 60 else text[:57] + "..."

    # ---- functions and statements ----

    def functions(self):
        """(name, first token of the body, last) of each function defined here."""
        i = 0
        while i < len(self.tokens):
            if self[i] == "{":
                if self[i - 1] == ")":
                    opening = self.match[i - 1]
                    yield self[opening - 1], i, self.match[i]
                i = self.match[i]
            elif self[i] in ("(", "["):
                i = self.match[i]
            i += 1

    def block(self, first):
        """Statements between the brace at `first` and its partner."""
        out, i = [], first + 1
        while i < self.match[first]:
            statement = self.statement(i)
            out.append(statement)
            i = statement.last + 1
        return Statement("block", first, self.match[first], out)

    def statement(self, i):
        word = self[i]
        if word == "{":
            return self.block(i)
        if word in ("if", "for", "while", "switch"):
            close = self.match[i + 1]
            body = self.statement(close + 1)
            children, last = [body], body.last
            if word == "if" and self[last + 1] == "else":
                other = self.statement(last + 2)
                children.append(other)
                last = other.last
            return Statement(word, i, last, children, (i + 2, close - 1))
        if word == "do":
            body = self.statement(i + 1)
            opening = body.last + 2
            return Statement("do", i, self.match[opening] + 1, [body], (opening + 1, self.match[opening] - 1))
        if word in ("case", "default"):
            end = i
            while self[end] != ":":
                end += 1
            return Statement("case", i, end)
        end = i
        while self[end] != ";":
            end = self.match[end] + 1 if self[end] in CLOSE else end + 1
        return Statement(self.simple_kind(i), i, end)

    def simple_kind(self, i):
        word, after = self[i], self[i + 1]
        if word in ("return", "break", "continue", "goto"):
            return "jump"
        if word == "CHECK":
            return "check"
        if word in ("struct", "enum", "union", "const", "static", "unsigned", "int", "bool", "void", "char", "long", "_Static_assert"):
            return "decl"
        if word == "TLBI_GATHER":
            return "decl"
        if self.tokens[i].kind == "word" and (self.tokens[i + 1].kind == "word" or after == "*"):
            return "decl"
        return "expr"

    # ---- mutants ----

    def add(self, kind, detail, *edits):
        line = self.text.count("\n", 0, edits[0].start) + 1
        self.mutants.append(Mutant(self.path, self.function, kind, detail, list(edits), line))

    def replace(self, first, last, text):
        return Edit(self.tokens[first].start, self.tokens[last].end, text)

    def generate(self):
        for self.function, first, last in self.functions():
            body = self.block(first)
            self.statements(body)
            self.conditions(body)
            self.expressions(first + 1, last - 1)
            self.locks(first + 1, last - 1)
        count = collections.Counter()
        for mutant in self.mutants:
            name = f"{mutant.path}:{mutant.function}:{mutant.kind}({mutant.detail})"
            count[name] += 1
            mutant.name = f"{name}:{count[name]}"
        return self.mutants

    def callee(self, s):
        return self[s.first] if self[s.first + 1] == "(" else ""

    def calls(self, s):
        return [self[i] for i in range(s.first, s.last) if self.tokens[i].kind == "word" and self[i + 1] == "("]

    def statements(self, parent):
        for s in parent.children:
            if s.kind == "expr" and not REPORTS.match(self.callee(s)) and self[s.first] not in (";", "("):
                kind = "no-fence" if self.callee(s) in ("atomic_fence", "hw_barrier") else "delete"
                self.add(kind, self.squeeze(s.first, s.last - 1), self.replace(s.first, s.last, ";"))
            elif s.kind == "check":
                self.add("delete-check", self.squeeze(s.first + 2, s.last - 2), self.replace(s.first, s.last, ";"))
            elif s.kind == "case":
                self.add("delete-case", self.squeeze(s.first, s.last - 1), self.replace(s.first, s.last, ""))
            self.statements(s)
        if parent.kind == "block":
            for one, two in zip(parent.children, parent.children[1:]):
                self.swap(one, two)

    def swap(self, one, two):
        movable = ("expr", "check", "if", "for", "while", "do", "switch", "block")
        if one.kind not in movable or two.kind not in movable or self.independent(one, two):
            return
        texts = self.source(one.first, one.last), self.source(two.first, two.last)
        lines = texts[0].count("\n") - texts[1].count("\n")
        self.add("swap", self.squeeze(one.first, one.last),
                 self.replace(one.first, one.last, texts[1] + "\n" * max(0, lines)),
                 self.replace(two.first, two.last, "\n" * max(0, -lines) + texts[0]))

    def target(self, s):
        """The lvalue that a plain assignment or increment writes; None for anything else."""
        if s.kind != "expr" or self.calls(s):
            return None
        for i in range(s.first, s.last):
            if self[i] in ASSIGNMENTS or self[i] in ("++", "--"):
                return self.squeeze(s.first, i - 1)
        return None

    def independent(self, one, two):
        """Nobody can tell the order: nothing shared is touched, or neither names what the other writes."""
        a, b = self.target(one), self.target(two)
        if a is not None and b is not None:
            return a not in self.squeeze(two.first, two.last) and b not in self.squeeze(one.first, one.last)
        if one.kind == two.kind == "check":
            return True
        touches = [c for s in (one, two) for c in self.calls(s) if EFFECTS.match(c) or c == "CHECK"]
        return not touches or any(REPORTS.match(self.callee(s)) for s in (one, two))

    def conditions(self, s):
        if s.kind in ("if", "while", "do"):
            first, last = s.head
            words = {self[i] for i in range(first, last + 1)}
            if not words & (set(RELATIONS) | {"&&", "||"}):
                self.add("negate", self.squeeze(first, last), self.replace(first, last, f"!({self.source(first, last)})"))
        for child in s.children:
            self.conditions(child)

    def extent(self, i, stop):
        """The operand left (or right) of the operator at i, as tokens [first, last]."""
        left = i - 1
        while left >= 0:
            if self[left] in (")", "]", "}"):
                if self[left] == "}" and self[left - 1] == ";":
                    break
                left = self.match[left]
            elif self[left] in stop or self[left] in ("(", "[", "{", ",", ";", "return", "case", "do", "else"):
                break
            left -= 1
        right = i + 1
        while self[right] not in stop and self[right] not in (")", "]", "}", ",", ";"):
            right = self.match[right] + 1 if self[right] in CLOSE else right + 1
        return left + 1, right - 1

    LOOSE = ASSIGNMENTS | {"?", ":"}

    def expressions(self, first, last):
        for i in range(first, last + 1):
            text, kind = self[i], self.tokens[i].kind
            if kind == "op":
                self.operator(i)
            elif kind == "word" and self[i + 1] == "(":
                self.call(i)
            elif text in NEIGHBOURS and self[i - 1] not in ("case",) and not self.compared(i):
                a, b = self.around(i)
                self.add("flip", self.squeeze(a, b), self.replace(i, i, NEIGHBOURS[text]))
            elif kind == "number" and re.fullmatch(r"1[uU]?[lL]*", text) and self[i - 1] in ("+", "-", "+=", "-=", "+ 1"):
                a, b = self.around(i)
                for other in ("0", "2"):
                    self.add("off-by-one", f"{self.squeeze(a, b)}:{other}", self.replace(i, i, other + text[1:]))

    def compared(self, i):
        return self[i - 1] in ("==", "!=") or self[i + 1] in ("==", "!=")

    def around(self, i):
        """The smallest piece between commas, semicolons and brackets that holds token i."""
        a = b = i
        while self[a - 1] not in ("(", "[", "{", "}", ",", ";", ":", "?", "&&", "||"):
            if self[a - 1] == ")" and self[self.match[a - 1] - 1] in ("if", "while", "for", "switch"):
                break
            a = self.match[a - 1] if self[a - 1] in (")", "]") else a - 1
        while self[b + 1] not in (")", "]", "}", ",", ";", ":", "?", "&&", "||"):
            b = self.match[b + 1] if self[b + 1] in CLOSE else b + 1
        return a, b

    def operator(self, i):
        text = self[i]
        if text in RELATIONS:
            a, b = self.extent(i, self.LOOSE | {"&&", "||"})
            for kind, other in zip(("boundary", "negate"), RELATIONS[text]):
                if other:
                    self.add(kind, self.squeeze(a, b), self.replace(i, i, other))
        elif text in ("&&", "||"):
            stop = self.LOOSE | ({"&&", "||"} if text == "&&" else {"||"})
            a, b = self.extent(i, stop)
            neutral = "true" if text == "&&" else "false"
            self.add("drop", self.squeeze(i + 1, b), self.replace(i + 1, b, neutral))
            if self[a - 1] != text:  # the first of a chain
                self.add("drop", self.squeeze(a, i - 1), self.replace(a, i - 1, neutral))
        elif text == "|":
            a, b = self.extent(i, self.LOOSE | {"&&", "||", "|", "==", "!="})
            self.add("drop-bit", self.squeeze(i + 1, b), self.replace(i + 1, b, "0"))
            if self[a - 1] != "|":
                self.add("drop-bit", self.squeeze(a, i - 1), self.replace(a, i - 1, "0"))
        elif text in ("++", "--"):
            pass  # deleted as a statement; in an expression the loop around it would not end
        elif text == "=" and self.tokens[i - 1].kind == "word":
            self.stamp(i)

    def stamp(self, i):
        """A field = value, in a statement or an initializer."""
        field, designated = self[i - 1], self[i - 2] == "." and self[i - 3] in ("{", ",")
        end = i + 1
        while self[end] not in (",", ";", "}", ")"):
            end = self.match[end] + 1 if self[end] in CLOSE else end + 1
        if designated:
            self.add("drop-init", self.squeeze(i - 2, end - 1), self.replace(i + 1, end - 1, self.zero(i + 1)))
        if field in STAMPS and self[i + 1] != "{":
            self.one_off(i + 1, end - 1, self.squeeze(i - 1, end - 1))

    def zero(self, i):
        return "{0}" if self[i] == "{" else "0"

    def one_off(self, first, last, detail):
        source = self.source(first, last)
        self.add("off-by-one", f"{detail}:+1", self.replace(first, last, f"({source}) + 1"))
        self.add("off-by-one", f"{detail}:-1", self.replace(first, last, f"({source}) - 1"))

    def arguments(self, i):
        """[first, last] tokens of each argument of the call at i."""
        out, first, at = [], i + 2, i + 2
        while True:
            if self[at] in CLOSE:
                at = self.match[at]
            elif self[at] == "," or at == self.match[i + 1]:
                if at > first:
                    out.append((first, at - 1))
                if self[at] != ",":
                    return out
                first = at + 1
            at += 1

    def value_used(self, i):
        """The result of the call at i is looked at."""
        return self[i - 1] not in (";", "{", "}", ")", "else", "do") or self[self.match[i + 1] + 1] != ";"

    def call(self, i):
        name, end = self[i], self.match[i + 1]
        args = self.arguments(i)
        source = [self.source(*a) for a in args]
        detail = self.squeeze(i, end)
        whole = lambda text: self.replace(i, end, text)
        if name in ROUNDING:
            self.add("min-max", detail, self.replace(i, i, ROUNDING[name]))
        weak = re.fullmatch(r"(atomic_\w+?)_(acq|rel)", name)
        if weak and weak.group(2) == "acq":
            self.add("weaken", detail, self.replace(i, i, weak.group(1)))
        elif weak:
            bits = weak.group(1)[len("atomic_store"):]
            self.add("weaken", detail, whole(f"ATOMIC_STORE(uint{bits}_t, &({source[0]})->v, {source[1]}, __ATOMIC_RELAXED)"))
        if name == "hw_cpu":
            self.add("flip", detail + "^1", whole("(hw_cpu() ^ 1u)"))
        if name == "pte_cas" and self.value_used(i):
            self.add("skip", detail, whole("true"))
            self.add("blind", detail, whole(f"(pte_xchg({source[0]}, {source[2]}), true)"))
        cas = re.fullmatch(r"atomic_cas(8|32|64)", name)
        if cas:
            self.add("skip", detail, whole("true"))
            self.add("blind", detail, whole(f"(atomic_store{cas.group(1)}{'_rel' if cas.group(1) == '8' else ''}"
                                            f"({source[0]}, {source[2]}), true)"))
        if name == "pte_xchg":
            torn = f"({{ pte_t torn_ = pte_read({source[0]}); pte_write({source[0]}, {source[1]}); torn_; }})"
            self.add("tear", detail, whole(torn))
            if self.value_used(i):
                self.add("skip", detail, whole(f"pte_read({source[0]})"))
        rmw = re.fullmatch(r"atomic_(add|or|and|xchg)(8|32|64)", name)
        if rmw:
            size, op = rmw.group(2), {"add": "+", "or": "|", "and": "&", "xchg": ","}[rmw.group(1)]
            new = source[1] if op == "," else f"torn_ {op} ({source[1]})"
            self.add("tear", detail, whole(f"({{ __typeof__(atomic_load{size}({source[0]})) torn_ = atomic_load{size}({source[0]}); "
                                           f"atomic_store{size}({source[0]}, {new}); torn_; }})"))
            if self.value_used(i):
                self.add("skip", detail, whole(f"atomic_load{size}({source[0]})"))
        self.stamped_arguments(name, args, source)

    def stamped_arguments(self, name, args, source):
        """A stamp that is handed over, or stored by a call."""
        stores = re.match(r"atomic_store", name)
        for n, (first, last) in enumerate(args):
            is_path = all(self.tokens[k].kind == "word" or self[k] in (".", "->") for k in range(first, last + 1))
            if is_path and self[last] in STAMPS or stores and n == 1 and self[first + 1] != "(" and self[first] != "{":
                self.one_off(first, last, f"{name}({self.squeeze(first, last)})")

    def locks(self, first, last):
        """All of a function's spin_lock and spin_unlock at once: it runs unlocked."""
        edits = []
        for i in range(first, last):
            if self[i] in ("spin_lock", "spin_unlock") and self[i + 1] == "(":
                edits.append(self.replace(i, self.match[i + 1], "(void)0"))
        if edits:
            self.add("unlock", "", *edits)


def core_sources(root=ROOT):
    for layer in LAYERS:
        for pattern in ("*.h", "*.c"):
            for path in sorted(glob.glob(os.path.join(root, layer, pattern))):
                yield os.path.relpath(path, root)


def generate(root=ROOT):
    """Every mutant of the core, and the text of each source."""
    mutants, texts = [], {}
    for path in core_sources(root):
        with open(os.path.join(root, path), encoding="utf-8") as f:
            texts[path] = f.read()
        mutants += Source(path, texts[path]).generate()
    return mutants, texts


def main():
    mutants, texts = generate()
    wanted = sys.argv[1:]
    for mutant in mutants:
        if not wanted:
            print(f"{mutant.name}  line {mutant.line}")
        elif mutant.name in wanted:
            print(mutant.diff(texts[mutant.path]))
    if not wanted:
        print(f"{len(mutants)} mutants:", ", ".join(f"{n} {k}" for k, n in collections.Counter(m.kind for m in mutants).most_common()))
    elif not any(m.name in wanted for m in mutants):
        sys.exit("no such mutant")


if __name__ == "__main__":
    main()
