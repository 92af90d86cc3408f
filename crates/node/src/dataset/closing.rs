//! End of a dataset: what is queued is done, its tasks end, and the engine is released. What views
//! have not told is not told any more: subscribers have gone, and come back by their positions.

use super::{Dataset, Ordering, Shared, Task};

impl Dataset {
    /// Tells the tasks to end once what is queued is done. Does not wait for them.
    pub fn begin_to_close(&self) {
        self.0.closing.store(true, Ordering::SeqCst);
        self.0.hub.abandon();
        self.0.views.abandon();
        self.0.house.task().wake();
        self.0.prepare.wake();
        self.0.mail.close();
        self.0.pulls.clear();
        self.0.inbox.close();
    }

    /// Parts that have not ended since they were told to, in words.
    #[must_use]
    pub fn unclosed(&self) -> Vec<&'static str> {
        let (giving, spilling) = self.0.mail.tasks();
        let parts = [
            (self.0.inbox.owner(), "its log"),
            (self.0.views.reader(), "its views"),
            (&self.0.prepare, "the next segment of its log"),
            (self.0.house.task(), "its snapshot"),
            (giving, "its mail"),
            (spilling, "the bodies of its messages"),
        ];
        parts.into_iter().filter(|(task, _)| !task.has_ended()).map(|(_, part)| part).collect()
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
