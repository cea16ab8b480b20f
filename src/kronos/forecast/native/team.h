/* The threads that walk through a call together, and where they meet.
 *
 * A step has dozens of meetings, each after some microseconds of work. Whoever arrives first spins for about as long as
 * that takes. On a machine that is busy with other things the others may not even be running: then spinning keeps them
 * from it, so the one who waits soon gives its core away. */
#ifndef KRONOS_TEAM_H
#define KRONOS_TEAM_H

#include <sched.h>
#include <stdint.h>
#include <time.h>

typedef struct {
    int arrived, round;
} meeting;

typedef struct {
    int id, size;     /* which of how many */
    meeting *meeting; /* one for all */
} team;

static inline void share(int count, team who, int *first, int *stop) {
    *first = (int)((int64_t)count * who.id / who.size);
    *stop = (int)((int64_t)count * (who.id + 1) / who.size);
}

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void meet(team who) {
    enum { SPINS = 2000, YIELDS = 20 };
    if (who.size == 1) return;
    meeting *place = who.meeting;
    int round = __atomic_load_n(&place->round, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&place->arrived, 1, __ATOMIC_ACQ_REL) == who.size) {
        __atomic_store_n(&place->arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&place->round, round + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int waited = 0; __atomic_load_n(&place->round, __ATOMIC_ACQUIRE) == round; waited++) {
        if (waited < SPINS)
            relax();
        else if (waited < SPINS + YIELDS)
            sched_yield();
        else
            nanosleep(&(struct timespec){0, 20000}, 0);
    }
}

#ifdef _OPENMP
#include <omp.h>
/* A block run by a team of at most `threads`; inside, WHO is this thread's place in it. */
#define TEAM(threads) \
    meeting together = {0, 0}; \
    _Pragma("omp parallel num_threads(threads)")
#define WHO ((team){omp_get_thread_num(), omp_get_num_threads(), &together})
#else
#define TEAM(threads) \
    meeting together = {0, 0}; \
    (void)threads;
#define WHO ((team){0, 1, &together})
#endif

#endif
