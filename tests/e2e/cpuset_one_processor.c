
/*
 * Appended to the kernel's cpuset.c: what it calls of the scheduler is only there on a kernel for several processors.
 * On one there is no deadline bandwidth to move and nowhere else to run.
 */
#ifndef CONFIG_SMP
int cpuset_cpumask_can_shrink(const struct cpumask *cur, const struct cpumask *trial) { return 1; }
int task_can_attach(struct task_struct *p) { return p->flags & PF_NO_SETAFFINITY ? -EINVAL : 0; }
int dl_bw_alloc(int cpu, u64 dl_bw) { return 0; }
void dl_bw_free(int cpu, u64 dl_bw) {}
#endif
