// What the host says of the machine before all else: what its root consists of.

#define _GNU_SOURCE
#include "layout.h"
#include "root.h"
#include "shares.h"
#include "wake.h"
#include "wire.h"

#include <string.h>

// The layers are others than those that the kernel found; the machine will be saved; it has disks that stay when it is gone.
enum { FLAG_OTHERS = 1, FLAG_SAVED = 2, FLAG_DISKS = 4 };

// MOUNT: see OWN, u8 flags, u8 layers, the places of the shares that each run has, `/<tag>`, each with its NUL.
void lay_out_root(struct layout *layout)
{
	uint8_t head[5];
	static uint8_t payload[1024];
	read_all(control, head, sizeof head);
	uint32_t length = get32(head + 1);
	if (head[0] != MOUNT || length < OWN + 2 || length > sizeof payload)
		fail("the host sent a damaged frame");
	read_all(control, payload, length);
	be_oneself(payload);
	uint8_t flags = payload[OWN], layers = payload[OWN + 1];
	if (flags & FLAG_OTHERS)
		probe_layers(layers);
	layout->saved = flags & FLAG_SAVED;
	layout->disks = flags & FLAG_DISKS;
	mount_layers(layers);
	begin_beside(layers, layout->saved || has_processors());
	stack_layers(layers);
	show_boot_id();
	for (uint8_t *at = payload + OWN + 2, *end = payload + length; at < end;) {
		uint8_t *stop = memchr(at, 0, end - at);
		if (stop == NULL)
			fail("the host sent a damaged frame");
		// A path is its tag behind a slash, and outlives the frame.
		add_share(SHARE_WRITE, (char *)at + 1, (char *)at);
		at = stop + 1;
	}
	keep_own_shares();
}
