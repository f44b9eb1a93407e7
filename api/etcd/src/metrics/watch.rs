//! How long a watch stream's task is busy with what it sends.

use std::time::Duration;

use keelson_storage::measures::Histogram;

use super::text::Text;

/// Of one face.
pub(crate) struct SendLoops {
    events: Histogram,
    per_event: Histogram,
    control: Histogram,
    progress: Histogram,
}

impl SendLoops {
    pub(super) fn new() -> Self {
        let histogram = || Histogram::new(0.001, 14);
        Self {
            events: histogram(),
            per_event: histogram(),
            control: histogram(),
            progress: histogram(),
        }
    }

    /// An answer with so many events was made.
    pub(crate) fn events(&self, count: usize, took: Duration) {
        self.events.observe(took);
        self.per_event.observe(took / u32::try_from(count).unwrap_or(u32::MAX).max(1));
    }

    /// A request to create or to cancel was answered.
    pub(crate) fn control(&self, took: Duration) {
        self.control.observe(took);
    }

    /// Progress was told.
    pub(crate) fn progress(&self, took: Duration) {
        self.progress.observe(took);
    }

    pub(super) fn write(&self, out: &mut Text) {
        let name = "etcd_debugging_server_watch_send_loop";
        for (rest, help, histogram) in [
            (
                "watch_stream_duration_seconds",
                "The total duration in seconds of running through the send loop watch stream \
                 response all events.",
                &self.events,
            ),
            (
                "watch_stream_duration_per_event_seconds",
                "The average duration in seconds of running through the send loop watch stream \
                 response, per event.",
                &self.per_event,
            ),
            (
                "control_stream_duration_seconds",
                "The total duration in seconds of running through the send loop control stream \
                 response.",
                &self.control,
            ),
            (
                "progress_duration_seconds",
                "The total duration in seconds of running through the progress loop control \
                 stream response.",
                &self.progress,
            ),
        ] {
            out.whole_histogram(&format!("{name}_{rest}"), help, histogram);
        }
    }
}
