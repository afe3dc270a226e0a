// The guest's root: layers under a tmpfs, and the mounts that every program expects.
//
// The layers are the virtio disks from vda on.

#define _GNU_SOURCE
#include "root.h"
#include "hooks.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LAYER_PATH = 32 };

static void must_mount(const char *what, const char *where, const char *type, unsigned long flags, const char *options)
{
	if (mount(what, where, type, flags, options) != 0 && errno != EBUSY)
		fail("cannot mount %s on %s: %s", type ? type : what, where, strerror(errno));
}

// For what a kernel may be built without.
static void may_mount(const char *type, const char *where, unsigned long flags, const char *options)
{
	mkdir(where, 0755);
	mount(type, where, type, flags, options);
}

static void mount_layer(const char *device, const char *where)
{
	static const char *const types[] = { "squashfs", "erofs", "ext4" };
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (mount(device, where, types[i], MS_RDONLY, NULL) == 0)
			return;
	fail("cannot mount the layer %s as squashfs, erofs or ext4: %s", device, strerror(errno));
}

static void mount_rest(void)
{
	may_mount("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=0620,ptmxmode=0666");
	may_mount("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
	may_mount("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755");
	may_mount("tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777");
	may_mount("cgroup2", "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	may_mount("debugfs", "/sys/kernel/debug", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	may_mount("tracefs", "/sys/kernel/tracing", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mkdir("/run/quiz", 0755);
	symlink("/proc/self/fd", "/dev/fd");
	symlink("/proc/self/fd/0", "/dev/stdin");
	symlink("/proc/self/fd/1", "/dev/stdout");
	symlink("/proc/self/fd/2", "/dev/stderr");
}

void mount_first(void)
{
	must_mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	must_mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	must_mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
}

void hurry(bool on)
{
	int fd = open("/sys/kernel/rcu_expedited", O_WRONLY | O_CLOEXEC);
	// A kernel that has no such switch is slower, and that is all.
	if (fd >= 0 && write(fd, on ? "1" : "0", 1) != 1)
		fail("cannot write /sys/kernel/rcu_expedited: %s", strerror(errno));
	close_fd(&fd);
}

// A small file of the kernel's; what it refuses ends the machine.
static void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fail("cannot write %s: %s", path, strerror(errno));
	close_fd(&fd);
}

// Without the driver the kernel forgets a disk, and with it finds it as it is now.
void probe_layers(int count)
{
	for (int i = 1; i < count; i++) {
		char path[64], device[256];
		snprintf(path, sizeof path, "/sys/block/vd%c/device", 'a' + i);
		ssize_t length = readlink(path, device, sizeof device - 1);
		if (length < 0)
			fail("cannot read %s: %s", path, strerror(errno));
		device[length] = 0;
		const char *name = strrchr(device, '/') + 1;
		write_to("/sys/bus/virtio/drivers/virtio_blk/unbind", name);
		write_to("/sys/bus/virtio/drivers/virtio_blk/bind", name);
	}
}

// The first layer is the root that the kernel found.
static void layer_path(int number, char path[LAYER_PATH])
{
	snprintf(path, LAYER_PATH, number == 0 ? "/" : "/.quiz/rw/%d", number);
}

void mount_layers(int count)
{
	if (count < 1 || count > 26)
		fail("%d layers are no root: 1 to 26 can be stacked", count);
	must_mount("tmpfs", "/.quiz/rw", "tmpfs", 0, "mode=0755,size=80%");
	for (int i = 1; i < count; i++) {
		char device[16], where[LAYER_PATH];
		snprintf(device, sizeof device, "/dev/vd%c", 'a' + i);
		layer_path(i, where);
		mkdir(where, 0755);
		mount_layer(device, where);
	}
}

void stack_layers(int count)
{
	mkdir("/.quiz/rw/upper", 0755);
	mkdir("/.quiz/rw/work", 0755);
	char options[2048] = "upperdir=/.quiz/rw/upper,workdir=/.quiz/rw/work,lowerdir=/";
	for (int i = 1; i < count; i++) {
		char where[LAYER_PATH];
		layer_path(i, where);
		strcat(options, ":");
		strcat(options, where);
	}
	must_mount("overlay", "/.quiz/root", "overlay", 0, options);

	static const char *const moved[] = { "/dev", "/proc", "/sys" };
	for (size_t i = 0; i < sizeof moved / sizeof *moved; i++) {
		char target[32];
		snprintf(target, sizeof target, "/.quiz/root%s", moved[i]);
		mkdir(target, 0755);
		must_mount(moved[i], target, NULL, MS_MOVE, NULL);
	}
	if (chdir("/.quiz/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0)
		fail("cannot switch to the new root: %s", strerror(errno));
	mount_rest();
}

static void bring_up_loopback(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	if (fd >= 0) {
		ioctl(fd, SIOCSIFFLAGS, &lo);
		close(fd);
	}
}

bool has_processors(void)
{
	cpu_set_t set;
	return sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 1;
}

static pid_t beside;
static int loopback = -1;

void begin_beside(int layers, bool warm_up)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) != 0 || (beside = fork()) < 0)
		fail("cannot fork: %s", strerror(errno));
	loopback = ends[0];
	if (beside != 0) {
		close_fd(&ends[1]);
		return;
	}
	bring_up_loopback();
	close_fd(&ends[1]);
	reset_signals();
	for (int i = layers - 1; warm_up && i >= 0; i--) {
		char where[LAYER_PATH];
		layer_path(i, where);
		if (chdir(where) == 0 && access("bin/true", X_OK) == 0 && chroot(".") == 0)
			execl("/bin/true", "true", NULL);
	}
	_exit(0);
}

void end_beside(void)
{
	char none;
	read(loopback, &none, 1);
	close_fd(&loopback);
}

void end_warm_up(void)
{
	// Who waited for a hook has met it already.
	waitpid(beside, NULL, 0);
}

static int kmsg = -1;

void open_log(void)
{
	close_fd(&kmsg);
	kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
}

// The kernel's console may be far behind its log. The host waits until this line stands there, and so all that the program made
// the kernel say. Level 0 is printed whatever a program made of the console's level.
bool mark_log(void)
{
	static const char mark[] = "<0>" PROGRAM_OVER "\n";
	return write(kmsg, mark, sizeof mark - 1) > 0;
}

void sysrq(const uint8_t *letters, uint32_t length)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
	for (uint32_t i = 0; fd >= 0 && i < length; i++)
		if (write(fd, letters + i, 1) < 0)
			break;
	close_fd(&fd);
}
