// What the parts of the agent share: frames and ports (wire.c), the root (root.c), hooks
// (hooks.c), what a snapshot must not share (wake.c), bytes (relay.c), channels (serve.c), the
// program (agent.c).

#ifndef QUIZ_AGENT_H
#define QUIZ_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PROTOCOL = 5, FRAME_LIMIT = 1 << 20 };

// Frames. Guest to host below 64, host to guest from 64 on.
enum frame {
	HELLO = 1,   // u32 protocol: the kernel and this process live, and nothing is mounted. MOUNT may come
	READY = 2,   // text: why this machine may not be saved; empty when it may. WAKE may come
	ERROR = 3,   // text: the guest could not get as far as the program; it powers off
	EXIT = 4,    // u8 status, u64 bytes of stdout, u64 bytes of stderr
	PONG = 5,    // nothing
	AWAKE = 6,   // u8: 1 when hooks run first, and another one follows; 0: a request may come
	SYNCED = 7,  // u8, after EXIT: whether what was written to the shares is with the host
	TAKEN = 8,   // u64: bytes of stdin that the program has read; when the request asks for that, and before EXIT
	REQUEST = 64,     // see read_request
	STDIN_END = 65,   // u64: bytes of stdin in all
	RESIZE = 66,      // u16 rows, u16 columns
	SIGNAL = 67,      // u32 number
	PING = 68,        // nothing
	SYSRQ = 69,       // letters for /proc/sysrq-trigger
	CLOSE = 70,       // u8 stream (1, 2): nobody reads it any more
	WAKE = 71,        // see wake
	MOUNT = 72,       // see make_root_as_told
};

// What makes a machine one of its own, at the head of MOUNT and of WAKE: u64 nanoseconds since 1970, 32 random bytes, 16 of the boot's
// id, which stays the same in one run.
enum { OWN = 8 + 32 + 16 };

// The open ports; -1 before open_ports. ports[] are stdin, stdout and stderr.
extern int control, ports[3];

void open_ports(void);
enum { PORT_NAME = 64 };
// The name of the port /dev/<device>; empty when it has none.
void port_name(const char *device, char name[PORT_NAME]);
uint16_t get16(const uint8_t *p);
uint32_t get32(const uint8_t *p);
uint64_t get64(const uint8_t *p);
void put(uint8_t *p, uint64_t value, int bytes);

// Writes all of it. A port that takes nothing because the host is gone ends the machine.
void write_all(int fd, const void *data, size_t length);
// Reads so many bytes. Without the other end they never come: ends the machine.
void read_all(int fd, void *data, size_t length);
// For payloads up to 1024 bytes.
void send_frame(enum frame type, const void *payload, uint32_t length);

void power_off(void) __attribute__((noreturn));
// The guest cannot go on: tells the host why, or the console while there is no host, and powers off.
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

// A small file of the kernel's; what it refuses ends the machine.
void write_to(const char *path, const char *text);

enum { CHUNK = 64 << 10 };

// One direction of the program's bytes, from `from` to `to`; each -1 when there is none.
struct relay {
	int from, to;
	size_t start, end;
	uint64_t total; // bytes written to `to`
	uint8_t buffer[CHUNK];
};

// Moves one buffer. False when there is nothing to read or no place to write now.
bool relay_move(struct relay *r);
// How many bytes the program has read of those that went into its pipe, of which `pipe` is the other end.
uint64_t relay_taken(const struct relay *r, int pipe);
// Everything that the program has written when it ends goes out before EXIT.
void relay_drain(struct relay *r);
void close_fd(int *fd);

// For other processes: as long as one of them held an end of the program's pipes, these would have no end.
void close_prepared(void);

// The environment that every program gets.
void set_default_env(void);
// What this process blocks or ignores would be inherited.
void reset_signals(void);
// An exit status as shells have it: 128 + n for signal n.
int decode_status(int status);
// The options of the profiles, from the kernel's command line.
void keep_options(void);
// The environment of hooks and of the programs at channels: the default one and the options.
void set_hook_env(void);
// The profiles' hooks: before the machine is saved, and in each that goes on from there.
#define INIT_HOOKS "/.quiz/init.d"
#define WAKE_HOOKS "/.quiz/wake.d"
bool has_hooks(const char *folder);
// Runs them; does not return when one fails.
void run_hooks(const char *folder);
// Before the machine is saved: whether any profile has a program for a channel.
void find_channels(void);
// Starts a process for each channel that a profile has a program for.
void serve_channels(void);

// Opens what random numbers are seeded by.
void open_random(void);
// Sets clock, random numbers and the boot's id.
void be_oneself(const uint8_t own[OWN]);
// Lays the boot's id over the kernel's own, which a saved machine would give to all that go on from it.
void show_boot_id(void);
// Tells the host that the guest is ready, and whether it may be saved.
void send_ready(void);
// Makes this machine one of its own, after READY or after a snapshot of that moment was restored.
void wake(const uint8_t *payload, uint32_t length);

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
// Whether the guest has several.
bool has_processors(void);
// Under an emulator everything is slow that is done for the first time. So a process beside this one brings up the loopback
// device and then, for `warm_up`, becomes a program that does nothing: what each program needs is in memory and translated.
void begin_beside(int layers, bool warm_up);
// Waits until the loopback device is up.
void end_beside(void);
// Waits until that program has ended.
void end_warm_up(void);
// A share of the host: makes the place for it.
void add_share(const char *tag);
// Mounts those that were added.
void mount_shares(void);
// Whether what was written there is with the host, within some seconds. Then also what was written to the guest's disks, if that comes in
// time: any of its file systems may be stuck.
bool sync_shares(void);

#endif
