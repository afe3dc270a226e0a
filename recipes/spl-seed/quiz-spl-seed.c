// SPDX-License-Identifier: GPL-2.0 OR MIT
// Seeds the random number generator of OpenZFS's SPL again. The SPL seeds it once, when it is loaded, so machines that were
// restored from one snapshot would give their pools the same GUIDs. Does nothing but that, and only when asked.
//
// The state is a static per-CPU variable: two words in OpenZFS 2.1, four since 2.2. Two fresh words are enough for either.

#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/random.h>
#include <linux/string.h>

// Looked up each time: the SPL may have been loaded anew.
static u64 __percpu *find_state(void)
{
	struct kobject *kobj = kset_find_obj(THIS_MODULE->mkobj.kobj.kset, "spl");
	struct module *spl = kobj ? container_of(kobj, struct module_kobject, kobj)->mod : NULL;
	u64 __percpu *state = NULL;

	rcu_read_lock_sched();
	if (spl) {
		struct mod_kallsyms *all = rcu_dereference_sched(spl->kallsyms);
		unsigned int i;

		for (i = 0; i < all->num_symtab && !state; i++)
			if (!strcmp(all->strtab + all->symtab[i].st_name, "spl_pseudo_entropy"))
				state = *(u64 __percpu **)all->symtab[i].st_value;
	}
	rcu_read_unlock_sched();
	kobject_put(kobj);
	return state;
}

static int seed(const char *value, const struct kernel_param *param)
{
	u64 __percpu *state = find_state();
	int cpu;

	if (state)
		for_each_possible_cpu(cpu)
			get_random_bytes(per_cpu_ptr(state, cpu), 2 * sizeof(u64));
	return 0;
}

static const struct kernel_param_ops seed_ops = { .set = seed };
module_param_cb(seed, &seed_ops, NULL, 0200);
MODULE_PARM_DESC(seed, "whatever is written here seeds");

static int __init quiz_spl_seed_init(void)
{
	return find_state() ? 0 : -ENOENT;
}

static void __exit quiz_spl_seed_exit(void)
{
}

module_init(quiz_spl_seed_init);
module_exit(quiz_spl_seed_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Seeds OpenZFS's random numbers again");
