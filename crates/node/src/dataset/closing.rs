//! End of a dataset: what is queued is done, its tasks end, and the engine is released.

use super::{Dataset, Ordering, Shared, Task};

impl Dataset {
    /// Tells the tasks to end once what is queued is done. Does not wait for them.
    pub fn begin_to_close(&self) {
        self.0.closing.store(true, Ordering::SeqCst);
        self.0.house.task().wake();
        self.0.prepare.wake();
        self.0.mail.close();
        self.0.pulls.clear();
        self.0.inbox.close();
    }

    /// Finishes what is queued, ends the tasks and releases the engine. Blocks, so it must not be
    /// called by a task.
    pub fn close(&self) {
        self.begin_to_close();
        let tasks = [self.0.inbox.owner(), self.0.views.reader(), &self.0.prepare];
        tasks.into_iter().chain([self.0.house.task()]).for_each(Task::join);
        self.0.mail.join();
    }
}

impl Shared {
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }
}
