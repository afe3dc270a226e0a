// What tells machines apart that were restored from one snapshot: clock, random numbers, names. Done in every machine, also
// in one that booted, so that there is one way.

#define _GNU_SOURCE
#include "wake.h"
#include "hooks.h"
#include "serve.h"
#include "shares.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

// Names of files, one a line, of kernel modules that have random numbers of their own: `1` written there seeds them again.
static const char reseed_file[] = "/run/quiz/reseed";
// A hook that cannot stand a snapshot writes the reason to the first; to the other, when only somebody who asks for one shall have it.
static const char *const reason_files[] = { "/run/quiz/no-snapshot", "/run/quiz/no-automatic-snapshot" };
static const char machine_id[] = "/etc/machine-id";
static const char hosts[] = "/etc/hosts";

static int urandom = -1;
static struct seed {
	int fd;
	char path[256];
} seeds[16];
static size_t seed_count;

void open_random(void)
{
	urandom = open("/dev/urandom", O_RDWR | O_CLOEXEC);
}

// Before the machine is saved, so that one that is restored has less to do.
static void open_seeds(void)
{
	FILE *file = fopen(reseed_file, "re");
	struct seed seed;
	while (file != NULL && fscanf(file, "%255s", seed.path) == 1) {
		seed.fd = open(seed.path, O_WRONLY | O_CLOEXEC);
		if (seed.fd < 0)
			fail("cannot write %s, which %s names: %s", seed.path, reseed_file, strerror(errno));
		if (seed_count == sizeof seeds / sizeof *seeds)
			fail("%s has more than %zu lines", reseed_file, seed_count);
		seeds[seed_count++] = seed;
	}
	if (file != NULL)
		fclose(file);
}

// Modules that have random numbers of their own take them from the kernel's.
static void reseed_modules(void)
{
	for (size_t i = 0; i < seed_count; i++) {
		if (write(seeds[i].fd, "1", 1) != 1)
			fail("cannot write %s: %s", seeds[i].path, strerror(errno));
		close_fd(&seeds[i].fd);
	}
}

static char *put_hex(char *at, uint8_t byte)
{
	*at++ = "0123456789abcdef"[byte >> 4];
	*at++ = "0123456789abcdef"[byte & 15];
	return at;
}

// As a random UUID has it (RFC 9562, version 4), and so machine-id(5) and the kernel's boot_id.
static void make_random_uuid(uint8_t bytes[16])
{
	bytes[6] = (bytes[6] & 0x0f) | 0x40;
	bytes[8] = (bytes[8] & 0x3f) | 0x80;
}

static char boot_id[37]; // with its newline
static int boot_id_file = -1;

static void write_boot_id(void)
{
	if (boot_id_file >= 0 && pwrite(boot_id_file, boot_id, sizeof boot_id, 0) != sizeof boot_id)
		fail("cannot write the boot's id: %s", strerror(errno));
}

static void set_boot_id(const uint8_t random[16])
{
	uint8_t bytes[16];
	char *at = boot_id;
	memcpy(bytes, random, sizeof bytes);
	make_random_uuid(bytes);
	for (size_t i = 0; i < sizeof bytes; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		at = put_hex(at, bytes[i]);
	}
	*at = '\n';
	write_boot_id();
}

void show_boot_id(void)
{
	static const char ours[] = "/run/quiz/boot_id", kernels[] = "/proc/sys/kernel/random/boot_id";
	boot_id_file = open(ours, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
	write_boot_id();
	// ENOENT: a kernel without sysctl has none.
	if (boot_id_file < 0 || (mount(ours, kernels, NULL, MS_BIND, NULL) != 0 && errno != ENOENT))
		fail("cannot lay %s over %s: %s", ours, kernels, strerror(errno));
}

void be_oneself(const uint8_t own[OWN])
{
	uint64_t now = get64(own);
	struct timespec time = { .tv_sec = now / 1000000000, .tv_nsec = now % 1000000000 };
	if (clock_settime(CLOCK_REALTIME, &time) != 0)
		fail("cannot set the clock: %s", strerror(errno));
	struct {
		struct rand_pool_info head;
		uint8_t bytes[32];
	} pool = { .head = { .entropy_count = 256, .buf_size = 32 } };
	memcpy(pool.bytes, own + 8, sizeof pool.bytes);
	if (ioctl(urandom, RNDADDENTROPY, &pool) != 0 || ioctl(urandom, RNDRESEEDCRNG) != 0)
		fail("cannot seed the random number generator: %s", strerror(errno));
	set_boot_id(own + 40);
}

// -1 when the root brings an id of its own, which it keeps.
static int machine_id_file = -1;
// The one that is there was made here, and is not the next machine's.
static bool made_machine_id;

// Now, so that the file need not be copied up from its layer in every machine that is restored.
static void prepare_machine_id(void)
{
	int fd = open(machine_id, O_RDWR | O_CREAT | O_CLOEXEC, 0444);
	if (fd >= 0 && (made_machine_id || lseek(fd, 0, SEEK_END) == 0))
		machine_id_file = fd;
	else
		close_fd(&fd);
}

// -1 when the root has no such file.
static int hosts_file = -1;

// sudo and mail programs look up their own machine by name: without a line it is an error or a wait for a name server.
static void name_machine(const char *name, size_t length)
{
	if (sethostname(name, length) != 0)
		fail("cannot set the host name: %s", strerror(errno));
	// No printf: what runs for the first time is slow under an emulator.
	static const char address[] = "127.0.1.1 ";
	char line[sizeof address + 65];
	memcpy(line, address, sizeof address - 1);
	memcpy(line + sizeof address - 1, name, length);
	line[sizeof address - 1 + length] = '\n';
	ssize_t size = sizeof address + length;
	if (hosts_file >= 0 && write(hosts_file, line, size) != size)
		fail("cannot write %s: %s", hosts, strerror(errno));
	close_fd(&hosts_file);
}

static void make_machine_id(void)
{
	if (machine_id_file < 0)
		return;
	uint8_t random[16];
	char text[33], *at = text;
	if (getrandom(random, sizeof random, 0) != sizeof random)
		fail("cannot get random numbers: %s", strerror(errno));
	make_random_uuid(random);
	for (size_t i = 0; i < sizeof random; i++)
		at = put_hex(at, random[i]);
	*at = '\n';
	if (pwrite(machine_id_file, text, sizeof text, 0) != sizeof text)
		fail("cannot write %s: %s", machine_id, strerror(errno));
	close_fd(&machine_id_file);
	made_machine_id = true;
}

static bool wake_hooks;

// What is written when the machine becomes one of its own.
static void open_own(void)
{
	prepare_machine_id();
	hosts_file = open(hosts, O_WRONLY | O_APPEND | O_CLOEXEC);
	open_seeds();
	wake_hooks = has_hooks(WAKE_HOOKS);
}

static ssize_t read_reason(const char *file, char *reason, size_t size)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? 0 : read(fd, reason, size);
	close_fd(&fd);
	return length < 0 ? 0 : length;
}

void send_ready_again(const char *why)
{
	char reason[512];
	open_random();
	seed_count = 0;
	open_own();
	ssize_t length = read_reason(reason_files[0], reason, sizeof reason);
	if (why[0] != 0)
		send_frame(READY, why, strlen(why));
	else
		send_frame(READY, reason, length);
}

void send_ready(void)
{
	open_own();
	find_channels();
	char reason[512];
	ssize_t length = read_reason(reason_files[0], reason, sizeof reason);
	if (length == 0)
		length = read_reason(reason_files[1], reason, sizeof reason);
	send_frame(READY, reason, length);
}

static void send_awake(uint8_t hooks)
{
	send_frame(AWAKE, &hooks, 1);
}

// WAKE: see OWN, the host name.
void wake(const uint8_t *payload, uint32_t length)
{
	if (length < OWN + 1 || length > OWN + 64)
		fail("the host sent a damaged frame");
	be_oneself(payload);
	close_fd(&urandom);
	reseed_modules();
	name_machine((const char *)payload + OWN, length - OWN);
	make_machine_id();
	if (wake_hooks) {
		send_awake(1);
		run_hooks(WAKE_HOOKS);
	}
	// Not before: a client of that time would be in the snapshot. Of one that is saved later they are served already.
	static bool served;
	if (!served)
		serve_channels();
	served = true;
	tell_of_own_shares();
	send_awake(0);
}
