// What a developer's module may do to the machine, by parameter.
#include <linux/delay.h>
#include <linux/irqflags.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>

static char *what = "greet";
module_param(what, charp, 0);

static noinline void quiz_test_oops(int *where)
{
	WRITE_ONCE(*where, 1);
}

static noinline void quiz_test_use_after_free(void)
{
	char *freed = kmalloc(32, GFP_KERNEL);

	kfree(freed);
	OPTIMIZER_HIDE_VAR(freed);
	WRITE_ONCE(freed[3], 1);
}

static void quiz_test_waited(struct rcu_head *head)
{
}

static int __init quiz_test_init(void)
{
	pr_info("t: hello\n");
	if (!strcmp(what, "oops"))
		quiz_test_oops(NULL);
	if (!strcmp(what, "warn"))
		WARN(1, "quiz_test_warn: %d\n", 7);
	if (!strcmp(what, "use-after-free"))
		quiz_test_use_after_free();
	if (!strcmp(what, "spin")) {
		preempt_disable();
		mdelay(8000);
		preempt_enable();
	}
	if (!strcmp(what, "sleep")) {
		set_current_state(TASK_UNINTERRUPTIBLE);
		schedule_timeout(6 * HZ);
	}
	if (!strcmp(what, "rcu")) {
		// Somebody has to wait for a grace period.
		static struct rcu_head head;

		call_rcu(&head, quiz_test_waited);
		rcu_read_lock();
		mdelay(8000);
		rcu_read_unlock();
		rcu_barrier();
	}
	if (!strcmp(what, "hang")) {
		local_irq_disable();
		for (;;)
			cpu_relax();
	}
	return 0;
}

static void __exit quiz_test_exit(void)
{
}

module_init(quiz_test_init);
module_exit(quiz_test_exit);
MODULE_LICENSE("GPL");
