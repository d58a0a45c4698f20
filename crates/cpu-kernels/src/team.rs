//! Threads that stay at work from kernel to kernel.
//!
//! A network is a long row of kernels of some ten microseconds each. To wake threads for every one costs as much again,
//! so the threads of the pool are called once for the whole row, and between kernels they wait awake.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Looks at the state before a waiting thread offers its time to others: some ten microseconds.
const LOOKS: usize = 2000;

/// Most parts of a job; their number and the next one share a word with the job's.
const MAX_PARTS: usize = u16::MAX as usize;

thread_local! {
    /// The team that this thread leads.
    static LED: Cell<*const Team> = const { Cell::new(std::ptr::null()) };
}

/// Runs `work` with the threads of the current pool at hand: kernels that it calls share their parts with them at once.
///
/// Where no thread is free, the calling one does all the work.
pub fn with_team<R>(work: impl FnOnce() -> R) -> R {
    let helpers = rayon::current_num_threads() - 1;
    if helpers == 0 || !LED.get().is_null() {
        return work();
    }
    let team = Team::default();
    rayon::in_place_scope(|scope| {
        (0..helpers).for_each(|_| scope.spawn(|_| team.help()));
        let _lead = Lead::new(&team);
        work()
    })
}

/// Shares `parts` of a job with the team that this thread leads; false if it leads none.
pub(crate) fn run(parts: usize, work: &(dyn Fn(usize) + Sync)) -> bool {
    let team = LED.get();
    if team.is_null() || parts > MAX_PARTS {
        return false;
    }
    // SAFETY: the team outlives the lead that put it there, and only this thread uses the pointer.
    unsafe { &*team }.share(parts, work);
    true
}

/// Marks a thread as its team's leader, and dismisses the team in the end, also by a panic.
struct Lead<'a>(&'a Team);

impl<'a> Lead<'a> {
    fn new(team: &'a Team) -> Self {
        LED.set(team);
        Lead(team)
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        LED.set(std::ptr::null());
        self.0.dismissed.store(true, Ordering::Release);
    }
}

/// What is to be done.
#[derive(Clone, Copy)]
struct Job<'a> {
    work: &'a (dyn Fn(usize) + Sync),
}

/// Number of a job, number of its parts, next part.
#[derive(Debug, Clone, Copy, PartialEq)]
struct State {
    job: u32,
    parts: u16,
    next: u16,
}

impl State {
    fn from_word(word: u64) -> Self {
        State { job: (word >> 32) as u32, parts: (word >> 16) as u16, next: word as u16 }
    }

    fn word(self) -> u64 {
        u64::from(self.job) << 32 | u64::from(self.parts) << 16 | u64::from(self.next)
    }
}

#[derive(Default)]
struct Team {
    state: AtomicU64,
    job: AtomicPtr<Job<'static>>,
    /// Parts that are done.
    done: AtomicUsize,
    panicked: AtomicBool,
    dismissed: AtomicBool,
}

impl Team {
    /// Takes part in jobs until the team is dismissed.
    fn help(&self) {
        let mut looks = 0;
        while !self.dismissed.load(Ordering::Acquire) {
            if self.work_on_next() {
                looks = 0;
            } else {
                wait(&mut looks);
            }
        }
    }

    /// Runs a job to its end.
    fn share(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
        let job = Job { work };
        let before = State::from_word(self.state.load(Ordering::Relaxed));
        self.done.store(0, Ordering::Relaxed);
        self.job.store((&raw const job).cast_mut().cast(), Ordering::Relaxed);
        let state = State { job: before.job.wrapping_add(1), parts: parts as u16, next: 0 };
        self.state.store(state.word(), Ordering::Release);
        while self.work_on_next() {}
        let mut looks = 0;
        while self.done.load(Ordering::Acquire) < parts {
            wait(&mut looks);
        }
        if self.panicked.swap(false, Ordering::Relaxed) {
            resume_unwind(Box::new("a part of a kernel panicked; its message is above"));
        }
    }

    /// Does one part of the current job; false if none is left.
    fn work_on_next(&self) -> bool {
        let word = self.state.load(Ordering::Acquire);
        let state = State::from_word(word);
        if state.next >= state.parts {
            return false;
        }
        let taken = State { next: state.next + 1, ..state }.word();
        if self.state.compare_exchange(word, taken, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return true;
        }
        // SAFETY: a part of this very job was taken and is not done, so `share` is still waiting for it: the job that
        // it put there is alive.
        let job = unsafe { &*self.job.load(Ordering::Relaxed) };
        if catch_unwind(AssertUnwindSafe(|| (job.work)(usize::from(state.next)))).is_err() {
            self.panicked.store(true, Ordering::Relaxed);
        }
        self.done.fetch_add(1, Ordering::Release);
        true
    }
}

/// Waits a moment.
fn wait(looks: &mut usize) {
    *looks += 1;
    if *looks < LOOKS {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
    }

    fn sum_of_squares(parts: usize) -> usize {
        let sum = AtomicUsize::new(0);
        crate::parallel::run(parts, |part| {
            sum.fetch_add(part * part, Ordering::Relaxed);
        });
        sum.into_inner()
    }

    #[test]
    fn every_part_runs_once() {
        for threads in [1, 2, 3, 5] {
            in_pool(threads, || {
                with_team(|| {
                    for round in 0..2000 {
                        let parts = round % 13;
                        assert_eq!(sum_of_squares(parts), (0..parts).map(|part| part * part).sum());
                    }
                })
            });
        }
    }

    #[test]
    fn several_teams_share_a_pool() {
        use rayon::prelude::*;
        in_pool(2, || {
            (0..8).into_par_iter().for_each(|_| {
                with_team(|| (0..200).for_each(|_| assert_eq!(sum_of_squares(4), 14)));
            });
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_goes_on() {
        in_pool(3, || {
            with_team(|| {
                let result = catch_unwind(|| crate::parallel::run(8, |part| assert!(part != 5, "part five")));
                assert!(result.is_err());
                assert_eq!(sum_of_squares(4), 14);
            })
        });
    }
}
