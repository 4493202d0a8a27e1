/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest cannot find out by probing: the PCI host bridge with its windows and interrupts, the
 * ISA devices of the board, and how to switch off. The same for every guest; what differs from guest
 * to guest (CPUs, memory) is in other tables. Addresses are those of vm/x86/pc.c and memmap.h.
 */
DefinitionBlock ("", "DSDT", 2, "SLUICE", "SLUICEPC", 0x00000001)
{
    /* SLP_TYP values for PM1a control: ACPI_SLP_TYP_S5 of vm/dev/acpi_pm.h. */
    Name (\_S5, Package () { 0x05, 0x05, Zero, Zero })

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, Zero)
            Name (_BBN, Zero)

            Name (_CRS, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                    0x0000, 0x0000, 0x0000, 0x0000, 0x0001)
                IO (Decode16, 0x0CF8, 0x0CF8, 0x01, 0x08)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x0000, 0x0CF7, 0x0000, 0x0CF8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x0D00, 0xFFFF, 0x0000, 0xF300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0x00000000, 0xC0000000, 0xFEBFFFFF, 0x00000000, 0x3EC00000)
            })

            /* INTA of devices 1 to 8: I/O APIC inputs 16 to 23, which no ISA interrupt uses. */
            Name (_PRT, Package ()
            {
                Package () { 0x0001FFFF, Zero, Zero, 16 },
                Package () { 0x0002FFFF, Zero, Zero, 17 },
                Package () { 0x0003FFFF, Zero, Zero, 18 },
                Package () { 0x0004FFFF, Zero, Zero, 19 },
                Package () { 0x0005FFFF, Zero, Zero, 20 },
                Package () { 0x0006FFFF, Zero, Zero, 21 },
                Package () { 0x0007FFFF, Zero, Zero, 22 },
                Package () { 0x0008FFFF, Zero, Zero, 23 }
            })

            Device (PIC)
            {
                Name (_HID, EisaId ("PNP0000"))
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x0020, 0x0020, 0x01, 0x02)
                    IO (Decode16, 0x00A0, 0x00A0, 0x01, 0x02)
                    IO (Decode16, 0x04D0, 0x04D0, 0x01, 0x02)
                    IRQNoFlags () { 2 }
                })
            }

            Device (TIMR)
            {
                Name (_HID, EisaId ("PNP0100"))
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x0040, 0x0040, 0x01, 0x04)
                    IRQNoFlags () { 0 }
                })
            }

            Device (SPKR)
            {
                Name (_HID, EisaId ("PNP0800"))
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x0061, 0x0061, 0x01, 0x01)
                })
            }

            Device (RTC)
            {
                Name (_HID, EisaId ("PNP0B00"))
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x0070, 0x0070, 0x01, 0x02)
                    IRQNoFlags () { 8 }
                })
            }

            Device (COM1)
            {
                Name (_HID, EisaId ("PNP0501"))
                Name (_UID, One)
                Name (_STA, 0x0F)
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x03F8, 0x03F8, 0x01, 0x08)
                    IRQNoFlags () { 4 }
                })
            }

            /* Ports that belong to the board and to no driver. */
            Device (MBRD)
            {
                Name (_HID, EisaId ("PNP0C02"))
                Name (_CRS, ResourceTemplate ()
                {
                    IO (Decode16, 0x0092, 0x0092, 0x01, 0x01)
                    IO (Decode16, 0x0600, 0x0600, 0x01, 0x0C)
                })
            }
        }
    }
}
