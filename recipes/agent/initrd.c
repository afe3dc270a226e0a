// Of a kernel whose drivers are modules: loads those that lie in the initrd, and goes from there into the first layer.
//
// The initrd is this program as /init, the folder /modules, and the file /modules/order: the names of the modules there, one in each line,
// each after those that it needs.

#define _GNU_SOURCE
#include "initrd.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/module.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ORDER "/modules/order"
#define LAYER "/dev/vda"

// Older headers do not know it; the kernel's interface: include/uapi/linux/module.h.
#ifndef MODULE_INIT_COMPRESSED_FILE
#define MODULE_INIT_COMPRESSED_FILE 4
#endif

enum { WAIT_LIMIT = 30 }; // seconds

static void load(const char *name)
{
	char path[512];
	snprintf(path, sizeof path, "/modules/%s", name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail("the initrd has no %s: %s", path, strerror(errno));
	// What distributions compress their kernels unpack.
	const char *end = strrchr(name, '.');
	int flags = end != NULL && strcmp(end, ".ko") != 0 ? MODULE_INIT_COMPRESSED_FILE : 0;
	if (syscall(SYS_finit_module, fd, "", flags) != 0 && errno != EEXIST)
		fail("the kernel does not take its module %s: %s", name, strerror(errno));
	close_fd(&fd);
	unlink(path); // its memory is the guest's
}

static void load_all(FILE *order)
{
	char name[256];
	while (fgets(name, sizeof name, order) != NULL) {
		name[strcspn(name, "\n")] = 0;
		load(name);
	}
	fclose(order);
	unlink(ORDER);
}

void leave_initrd(void)
{
	FILE *order = fopen(ORDER, "re");
	if (order == NULL)
		return;
	if (mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755") != 0)
		fail("cannot mount devtmpfs on /dev: %s", strerror(errno));
	load_all(order);
	// Some drivers look for their devices while others go on.
	for (int i = 0; access(LAYER, F_OK) != 0; i++) {
		if (i == WAIT_LIMIT * 1000)
			fail("there is no disk %s (CONFIG_VIRTIO_BLK)", LAYER);
		usleep(1000);
	}
	if (mount(LAYER, "/root", "squashfs", MS_RDONLY, NULL) != 0)
		fail("cannot mount the layer %s as squashfs: %s", LAYER, strerror(errno));
	umount2("/dev", MNT_DETACH);
	unlink("/init");
	if (chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0)
		fail("cannot switch to %s: %s", LAYER, strerror(errno));
}
