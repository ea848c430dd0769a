#pragma once
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

// prctl takes a varying number of arguments, which does not import into Swift.

static inline int lockstep_end_with_parent(void) { return prctl(PR_SET_PDEATHSIG, SIGKILL); }

static inline int lockstep_no_new_privileges(void) {
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

// The C library has these two, but shows them only to those who ask for GNU extensions.
extern int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *actions, int first);
extern int pipe2(int ends[2], int flags);

// No program that another thread starts at the same moment gets the ends.
static inline int lockstep_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC); }

static inline int lockstep_close_from(posix_spawn_file_actions_t *actions, int first) {
  return posix_spawn_file_actions_addclosefrom_np(actions, first);
}

// From here on the kernel carries out only calls that use memory and descriptors the process
// already has; every other fails with EPERM. 0 when it is in force.
static inline int lockstep_allow_only_memory_and_io(void) {
#if defined(__x86_64__)
#define LOCKSTEP_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define LOCKSTEP_ARCHITECTURE AUDIT_ARCH_AARCH64
#else
  return -1;
#endif
#ifdef LOCKSTEP_ARCHITECTURE
#define LOCKSTEP_ALLOW(call) \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (call), 0, 1), \
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
  struct sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, LOCKSTEP_ARCHITECTURE, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      LOCKSTEP_ALLOW(SYS_pread64),
      LOCKSTEP_ALLOW(SYS_read),
      LOCKSTEP_ALLOW(SYS_write),
      LOCKSTEP_ALLOW(SYS_writev),
      LOCKSTEP_ALLOW(SYS_close),
      LOCKSTEP_ALLOW(SYS_fstat),
      LOCKSTEP_ALLOW(SYS_lseek),
      LOCKSTEP_ALLOW(SYS_mmap),
      LOCKSTEP_ALLOW(SYS_munmap),
      LOCKSTEP_ALLOW(SYS_mremap),
      LOCKSTEP_ALLOW(SYS_mprotect),
      LOCKSTEP_ALLOW(SYS_madvise),
      LOCKSTEP_ALLOW(SYS_brk),
      LOCKSTEP_ALLOW(SYS_futex),
      LOCKSTEP_ALLOW(SYS_getrandom),
      LOCKSTEP_ALLOW(SYS_clock_gettime),
      LOCKSTEP_ALLOW(SYS_sched_yield),
      LOCKSTEP_ALLOW(SYS_getpid),
      LOCKSTEP_ALLOW(SYS_gettid),
      LOCKSTEP_ALLOW(SYS_tgkill),
      LOCKSTEP_ALLOW(SYS_rt_sigaction),
      LOCKSTEP_ALLOW(SYS_rt_sigprocmask),
      LOCKSTEP_ALLOW(SYS_rt_sigreturn),
      LOCKSTEP_ALLOW(SYS_exit),
      LOCKSTEP_ALLOW(SYS_exit_group),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
  };
  struct sock_fprog program = {sizeof rules / sizeof rules[0], rules};
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
#endif
}
