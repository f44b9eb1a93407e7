//! The kinds of API group `batch`.

use super::kind::{Generation, Kind, Subresource};
use super::rules;
use super::selectable;
use crate::table::columns;

const BASE: Kind = Kind { group: "batch", version: "v1", ..Kind::DEFAULT };

/// In the order of discovery.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        kind: "CronJob",
        list_kind: "CronJobList",
        plural: "cronjobs",
        singular: "cronjob",
        schema: "io.k8s.api.batch.v1.CronJob",
        short_names: &["cj"],
        categories: &["all"],
        subresources: &[Subresource::of_kind("status", "CronJob")],
        storage_prefix: "cronjobs",
        has_status: true,
        generation: Generation::OnSpecChange,
        printer: &columns::CRON_JOB,
        hooks: rules::CRON_JOB,
        ..BASE
    },
    Kind {
        kind: "Job",
        list_kind: "JobList",
        plural: "jobs",
        singular: "job",
        schema: "io.k8s.api.batch.v1.Job",
        categories: &["all"],
        subresources: &[Subresource::of_kind("status", "Job")],
        storage_prefix: "jobs",
        has_status: true,
        generation: Generation::OnSpecChange,
        orphans_by_default: true,
        selectable: selectable::JOB,
        printer: &columns::JOB,
        hooks: rules::JOB,
        ..BASE
    },
];
