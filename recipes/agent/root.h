// The guest's root.

#ifndef QUIZ_ROOT_H
#define QUIZ_ROOT_H

#include <stdbool.h>
#include <stdint.h>

// Mounts what this process needs itself.
void mount_first(void);
// Lets nothing wait for the kernel's grace periods (RCU), which take 20 ms for each disk that is looked at again.
void hurry(bool on);
// Looks at the disks of the layers again: what was restored knows those of another image.
void probe_layers(int count);
// Mounts the layers: vda is the kernel's root, vdb, ... come under a tmpfs.
void mount_layers(int count);
// Makes a root of them, and mounts what every program expects.
void stack_layers(int count);
// Whether the guest has several processors.
bool has_processors(void);
// Under an emulator everything is slow that is done for the first time. So a process beside this one brings up the loopback
// device and then, for `warm_up`, becomes a program that does nothing: what each program needs is in memory and translated.
void begin_beside(int layers, bool warm_up);
// Waits until the loopback device is up.
void end_beside(void);
// Waits until that program has ended.
void end_warm_up(void);
// Before the machine is saved, so that one that is restored has less to do; anew for each, as the kernel lets each file write so many lines.
void open_log(void);
// Writes PROGRAM_OVER into the log. False when it could not.
bool mark_log(void);
// Writes these letters to /proc/sysrq-trigger.
void sysrq(const uint8_t *letters, uint32_t length);

#endif
