// What tells machines apart that were restored from one snapshot.

#ifndef QUIZ_WAKE_H
#define QUIZ_WAKE_H

#include "frames.h"

#include <stdint.h>

// Opens what random numbers are seeded by.
void open_random(void);
// Sets clock, random numbers and the boot's id.
void be_oneself(const uint8_t own[OWN]);
// Lays the boot's id over the kernel's own, which a saved machine would give to all that go on from it.
void show_boot_id(void);
// Tells the host that the guest is ready, and whether it may be saved.
void send_ready(void);
// The same of one whose program has ended, and which takes another request. `why` is empty unless it may not be saved.
void send_ready_again(const char *why);
// Makes this machine one of its own, after READY or after a snapshot of that moment was restored.
void wake(const uint8_t *payload, uint32_t length);

#endif
