/* SPDX-License-Identifier: BSD-2-Clause */
/* Error numbers: functions that can fail return 0 or one of these, negated. The values are Linux's.
 */
#ifndef SLUICE_LIB_ERRNO_H
#define SLUICE_LIB_ERRNO_H

#if __STDC_HOSTED__
#include <errno.h>
#else
#define ENOENT	   2  /* no such thing */
#define EIO	   5  /* a device did not do its part */
#define E2BIG	   7  /* larger than the format allows */
#define ENOEXEC	   8  /* not an image of this kind */
#define EAGAIN	   11 /* lost a race; try again */
#define ENOMEM	   12 /* memory does not suffice */
#define EFAULT	   14 /* no memory at that address */
#define EBUSY	   16 /* in use */
#define EEXIST	   17 /* there is one already */
#define ENODEV	   19 /* no such device */
#define EINVAL	   22 /* an argument is outside what is allowed */
#define ENOSPC	   28 /* a table is full */
#define ERANGE	   34 /* a number is out of range */
#define ENOSYS	   38 /* not implemented here */
#define EOPNOTSUPP 95 /* this machine or format cannot do it */
#endif

#endif
