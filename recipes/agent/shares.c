// The host's folders in the guest: 9p shares, for what a request brings as long as its program is not saved together with the machine.
//
// Knows nothing of layers, or of who asks for them.

#define _GNU_SOURCE
#include "shares.h"
#include "wire.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct share {
	const char *tag, *where;
	char mode;
	int held;
} shares[16];
static size_t share_count;
// Those that each run has come before those of a request.
static size_t own_count;
// How often shares were mounted: what a machine has kept of an overlay is not the next one's.
static unsigned rounds;

// A folder, and those above it that are missing.
static void make_place(const char *path)
{
	char folder[PATH_MAX];
	if (strlen(path) >= sizeof folder)
		fail("the path of a share is too long: %s", path);
	strcpy(folder, path);
	for (char *at = folder + 1;; at++) {
		char here = *at;
		if (here != '/' && here != 0)
			continue;
		*at = 0;
		if (mkdir(folder, 0755) != 0 && errno != EEXIST)
			fail("cannot make %s for a share: %s", folder, strerror(errno));
		*at = here;
		if (here == 0)
			return;
	}
}

void add_share(char mode, const char *tag, const char *where)
{
	if (share_count == sizeof shares / sizeof *shares)
		fail("there are more than %zu shares", share_count);
	make_place(where);
	shares[share_count++] = (struct share){ .tag = tag, .where = where, .mode = mode, .held = -1 };
}

static void mount_9p(const char *tag, const char *where, unsigned long flags, const char *cache)
{
	char options[96];
	snprintf(options, sizeof options, "trans=virtio,version=9p2000.L,msize=512000,cache=%s", cache);
	if (mount(tag, where, "9p", flags, options) != 0)
		fail("cannot mount the share %s: %s (CONFIG_9P_FS, CONFIG_NET_9P_VIRTIO)", where, strerror(errno));
}

// What is written goes into the guest's memory. What lies below must not change (Documentation/filesystems/overlayfs.rst), so the guest
// may as well keep what it has seen of it, which makes reading many times as fast.
static void mount_overlay(const struct share *share)
{
	static const char *const parts[] = { "lower", "upper", "work" };
	char paths[3][64], options[256];
	char base[48];
	snprintf(base, sizeof base, "/run/quiz/%u/%s", rounds, share->tag);
	make_place(base);
	// Of its own, so that nothing of it stays when it is unmounted.
	if (mount("tmpfs", base, "tmpfs", 0, "mode=0755") != 0)
		fail("cannot mount a tmpfs on %s: %s", base, strerror(errno));
	for (size_t i = 0; i < 3; i++) {
		snprintf(paths[i], sizeof paths[i], "%s/%s", base, parts[i]);
		make_place(paths[i]);
	}
	mount_9p(share->tag, paths[0], MS_RDONLY, "loose");
	snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", paths[0], paths[1], paths[2]);
	if (mount("overlay", share->where, "overlay", 0, options) != 0)
		fail("cannot mount an overlay on %s: %s", share->where, strerror(errno));
}

// Without 9P they are empty, and take nothing that would seem to be with the host.
static bool lacks_9p;

void keep_own_shares(void)
{
	own_count = share_count;
	char line[64];
	FILE *known = fopen("/proc/filesystems", "re");
	lacks_9p = known != NULL;
	while (lacks_9p && fgets(line, sizeof line, known) != NULL)
		lacks_9p = strcmp(line, "nodev\t9p\n") != 0;
	if (known != NULL)
		fclose(known);
	for (struct share *share = shares; lacks_9p && share < shares + own_count; share++)
		share->mode = SHARE_READ;
}

void tell_of_own_shares(void)
{
	static const char text[] = "this kernel has no 9P: of the host's folders /shared and /out the guest has empty ones, and can write nothing there";
	if (lacks_9p)
		send_frame(NOTE, text, sizeof text - 1);
}

void mount_shares(void)
{
	rounds++;
	for (const struct share *share = shares; share < shares + share_count; share++)
		if (share->mode == SHARE_OVERLAY)
			mount_overlay(share);
		else if (!lacks_9p || share >= shares + own_count)
			mount_9p(share->tag, share->where, share->mode == SHARE_READ ? MS_RDONLY : 0, "mmap");
		else if (mount("none", share->where, "tmpfs", MS_RDONLY, "mode=0555") != 0)
			fail("cannot mount a tmpfs on %s: %s", share->where, strerror(errno));
}

enum { SYNC_LIMIT = 5 }; // seconds

static int64_t milliseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

void hold_shares(void)
{
	for (struct share *share = shares; share < shares + share_count; share++)
		if (share->mode == SHARE_WRITE)
			share->held = open(share->where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

bool sync_shares(void)
{
	bool synced = true;
	for (const struct share *share = shares; share < shares + share_count; share++)
		if (share->mode == SHARE_WRITE)
			synced &= share->held >= 0 && syncfs(share->held) == 0;
	return synced;
}

static void __attribute__((noreturn)) sync_beside(int said)
{
	if (!sync_shares() || write(said, "", 1) != 1)
		_exit(1);
	sync(); // disks that stay need not be unmounted, which takes time
	_exit(0);
}

bool sync_all(void)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) != 0)
		return false;
	pid_t pid = fork();
	if (pid == 0)
		sync_beside(ends[1]);
	close_fd(&ends[1]);
	// A byte when the shares are, the end when all is.
	bool synced = false;
	int64_t until = milliseconds() + SYNC_LIMIT * 1000;
	for (int64_t left; pid > 0 && (left = until - milliseconds()) > 0;) {
		struct pollfd wait = { .fd = ends[0], .events = POLLIN };
		char byte;
		if (poll(&wait, 1, left) <= 0)
			continue;
		if (read(ends[0], &byte, 1) != 1)
			break;
		synced = true;
	}
	close_fd(&ends[0]);
	return synced;
}

// Whether that link of /proc leads to `where` or into it.
static bool leads_below(const char *link, const char *where)
{
	char target[PATH_MAX];
	ssize_t length = readlink(link, target, sizeof target - 1);
	size_t root = strlen(where);
	if (length < 0)
		return false;
	target[length] = 0;
	return strncmp(target, where, root) == 0 && (target[root] == 0 || target[root] == '/');
}

// Whether one of the process's files, or its folder, lies there.
static bool holds(const char *process, const char *where)
{
	static const char *const links[] = { "cwd", "root", "exe" };
	char path[PATH_MAX];
	for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
		snprintf(path, sizeof path, "/proc/%s/%s", process, links[i]);
		if (leads_below(path, where))
			return true;
	}
	static const char *const folders[] = { "fd", "map_files" };
	bool found = false;
	for (size_t i = 0; i < sizeof folders / sizeof *folders && !found; i++) {
		snprintf(path, sizeof path, "/proc/%s/%s", process, folders[i]);
		DIR *dir = opendir(path);
		for (struct dirent *entry; dir != NULL && !found && (entry = readdir(dir)) != NULL;) {
			char link[PATH_MAX];
			int length = snprintf(link, sizeof link, "%s/%s", path, entry->d_name);
			found = length < (int)sizeof link && leads_below(link, where);
		}
		if (dir != NULL)
			closedir(dir);
	}
	return found;
}

// Whoever it is, in words.
static void name_holder(const char *where, char *text, size_t size)
{
	DIR *dir = opendir("/proc");
	snprintf(text, size, "%s cannot be unmounted: something holds it", where);
	for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || !holds(entry->d_name, where))
			continue;
		char path[PATH_MAX], name[64] = "";
		snprintf(path, sizeof path, "/proc/%s/comm", entry->d_name);
		FILE *comm = fopen(path, "re");
		if (comm != NULL && fgets(name, sizeof name, comm) != NULL)
			name[strcspn(name, "\n")] = 0;
		if (comm != NULL)
			fclose(comm);
		snprintf(text, size, "process %.10s (%s) has something open in %s", entry->d_name, name, where);
		break;
	}
	if (dir != NULL)
		closedir(dir);
}

bool unmount_shares(char *why, size_t size)
{
	for (size_t i = share_count; i-- > 0;) {
		struct share *share = &shares[i];
		close_fd(&share->held);
		if (umount2(share->where, 0) != 0) {
			name_holder(share->where, why, size);
			return false;
		}
		if (share->mode == SHARE_OVERLAY) {
			char base[48], lower[64];
			snprintf(base, sizeof base, "/run/quiz/%u/%s", rounds, share->tag);
			snprintf(lower, sizeof lower, "%s/lower", base);
			if (umount2(lower, 0) != 0 || umount2(base, 0) != 0) {
				name_holder(share->where, why, size);
				return false;
			}
		}
	}
	share_count = own_count;
	return true;
}
