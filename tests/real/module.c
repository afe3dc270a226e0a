// What a developer's module may do to the machine, by parameter.
#include <linux/delay.h>
#include <linux/irqflags.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <asm/desc.h>

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

static noinline void quiz_test_shift(void)
{
	int by = 40;

	OPTIMIZER_HIDE_VAR(by);
	pr_info("t: %d\n", 1 << by);
}

static noinline void quiz_test_list(void)
{
	static LIST_HEAD(list);
	static LIST_HEAD(entry);

	list_add(&entry, &list);
	list_add(&entry, &list);
}

static noinline void quiz_test_lock_order(void)
{
	static DEFINE_MUTEX(first);
	static DEFINE_MUTEX(second);

	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);
	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

static int quiz_test_shared;

static int quiz_test_race(void *data)
{
	while (!kthread_should_stop()) {
		quiz_test_shared++;
		cond_resched();
	}
	return 0;
}

static noinline void quiz_test_two_race(void)
{
	struct task_struct *one = kthread_run(quiz_test_race, NULL, "quiz-one");
	struct task_struct *two = kthread_run(quiz_test_race, NULL, "quiz-two");

	msleep(5000);
	kthread_stop(one);
	kthread_stop(two);
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
	if (!strcmp(what, "shift"))
		quiz_test_shift();
	if (!strcmp(what, "list"))
		quiz_test_list();
	if (!strcmp(what, "lock-order"))
		quiz_test_lock_order();
	if (!strcmp(what, "race"))
		quiz_test_two_race();
	if (!strcmp(what, "sleep-in-atomic")) {
		preempt_disable();
		might_sleep();
		preempt_enable();
	}
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
	if (!strcmp(what, "triple-fault")) {
		// No fault has a handler any more.
		struct desc_ptr none = { };

		local_irq_disable();
		asm volatile("lidt %0; int3" : : "m"(none));
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
