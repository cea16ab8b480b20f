/* The threads that walk through a call together, and where they meet.
 *
 * A step has dozens of meetings, each after some microseconds of work, and a forecast has dozens of steps, each some
 * microseconds after the last. Whoever waits spins for about as long as that takes. On a machine that is busy with other
 * things the one who is waited for may not be running: then spinning only keeps it from its core, so whoever has waited
 * for longer goes to sleep. The threads outlive a call, asleep; a call that finds them busy with another one does its
 * work alone. What is computed does not depend on how many there are. */
#ifndef KRONOS_TEAM_H
#define KRONOS_TEAM_H

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <time.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum { SPINS = 6000, MOST_THREADS = 256 };

typedef struct {
    int arrived, round, asleep;
    int claimed; /* of the work between the last meeting and the next */
} meeting;

typedef struct {
    int id, size;     /* which of how many */
    meeting *meeting; /* one for all */
} team;

typedef void (*job)(void *what, team who);

static inline void share(int count, team who, int *first, int *stop) {
    *first = (int)((int64_t)count * who.id / who.size);
    *stop = (int)((int64_t)count * (who.id + 1) / who.size);
}

/* The next piece of work that nobody has claimed; 0 when none is left. A core that is held up claims less. One such loop
 * fits between two meetings. */
static inline int claim(int count, team who, int *first, int *stop) {
    int piece = who.size == 1 ? count : (count + 4 * who.size - 1) / (4 * who.size);
    *first = __atomic_fetch_add(&who.meeting->claimed, piece, __ATOMIC_RELAXED);
    *stop = *first + piece < count ? *first + piece : count;
    return *first < count;
}

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Wait until *value is no longer `old`; `asleep` counts those who must be woken. */
static void await_change(int *value, int old, int *asleep) {
    for (int spins = 0; spins < SPINS; spins++) {
        if (__atomic_load_n(value, __ATOMIC_ACQUIRE) != old) return;
        relax();
    }
    __atomic_add_fetch(asleep, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(value, __ATOMIC_SEQ_CST) == old) {
#ifdef __linux__
        syscall(SYS_futex, value, FUTEX_WAIT_PRIVATE, old, (void *)0, (void *)0, 0);
#else
        nanosleep(&(struct timespec){0, 20000}, 0);
#endif
    }
    __atomic_sub_fetch(asleep, 1, __ATOMIC_SEQ_CST);
}

static void change(int *value, int to, int *asleep) {
    __atomic_store_n(value, to, __ATOMIC_SEQ_CST);
#ifdef __linux__
    if (__atomic_load_n(asleep, __ATOMIC_SEQ_CST)) syscall(SYS_futex, value, FUTEX_WAKE_PRIVATE, MOST_THREADS);
#else
    (void)asleep;
#endif
}

static void meet(team who) {
    meeting *place = who.meeting;
    if (who.size == 1) {
        place->claimed = 0;
        return;
    }
    int round = __atomic_load_n(&place->round, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&place->arrived, 1, __ATOMIC_ACQ_REL) == who.size) {
        __atomic_store_n(&place->arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&place->claimed, 0, __ATOMIC_RELAXED);
        change(&place->round, round + 1, &place->asleep);
    } else {
        await_change(&place->round, round, &place->asleep);
    }
}

static struct {
    pthread_mutex_t busy;
    pthread_once_t once;
    int count;                /* threads that wait for work */
    int born[MOST_THREADS];   /* the last call before each of them was there */
    int call, call_asleep;    /* another number for every call; its last bits say how many threads take part */
    int left;                 /* of those, how many are not done yet */
    int done, done_asleep;    /* the last call that all are done with */
    job job;
    void *what;
    meeting meeting;
} crew = {.busy = PTHREAD_MUTEX_INITIALIZER, .once = PTHREAD_ONCE_INIT};

static void *crew_member(void *id) {
    int mine = (int)(intptr_t)id, seen = crew.born[mine - 1];
    for (;;) {
        await_change(&crew.call, seen, &crew.call_asleep);
        seen = __atomic_load_n(&crew.call, __ATOMIC_ACQUIRE);
        int size = seen & (2 * MOST_THREADS - 1);
        if (mine >= size) continue; /* and look at nothing else, which may be the next call's already */
        crew.job(crew.what, (team){mine, size, &crew.meeting});
        if (__atomic_sub_fetch(&crew.left, 1, __ATOMIC_ACQ_REL) == 0) change(&crew.done, seen, &crew.done_asleep);
    }
    return 0;
}

/* In a forked child there are no threads but the one that forked. */
static void crew_forget(void) {
    pthread_mutex_init(&crew.busy, 0);
    crew.count = crew.call_asleep = crew.done_asleep = 0;
    crew.meeting = (meeting){0, 0, 0, 0};
}

static void crew_watch_forks(void) { pthread_atfork(0, 0, crew_forget); }

/* Have threads waiting; signals are not for them. */
static int crew_gather(int wanted) {
    pthread_once(&crew.once, crew_watch_forks);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (crew.count < wanted) {
        pthread_t thread;
        crew.born[crew.count] = crew.call; /* it may begin to look only after the next one has been announced */
        if (pthread_create(&thread, 0, crew_member, (void *)(intptr_t)(crew.count + 1))) break;
        pthread_detach(thread);
        crew.count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, 0);
    return crew.count;
}

/* Do a job with at most so many threads, this one among them. */
static void together(int threads, job job, void *what) {
    meeting alone = {0, 0, 0, 0};
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    if (threads <= 1 || pthread_mutex_trylock(&crew.busy)) {
        job(what, (team){0, 1, &alone});
        return;
    }
    int size = crew_gather(threads - 1) + 1;
    if (size > threads) size = threads;
    unsigned calls = (unsigned)crew.call / (2 * MOST_THREADS) + 1;
    crew.left = size - 1;
    crew.meeting.claimed = 0;
    crew.job = job;
    crew.what = what;
    if (crew.left) {
        int done = crew.done;
        change(&crew.call, (int)(calls * 2 * MOST_THREADS + (unsigned)size), &crew.call_asleep);
        job(what, (team){0, size, &crew.meeting});
        await_change(&crew.done, done, &crew.done_asleep);
    } else {
        job(what, (team){0, 1, &alone});
    }
    pthread_mutex_unlock(&crew.busy);
}

#endif
