//! CRI's runtime service: one line a call, and the errors as statuses.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use futures::{Stream, StreamExt, stream};
use keelson_proto::cri;
use keelson_proto::cri::runtime_service_server::RuntimeService;
use tokio_stream::wrappers::BroadcastStream;
use tonic::{Request, Response, Status};

use super::embedded::{EmbeddedRuntime, Inner};
use super::error::{During, RuntimeError};
use super::sandboxes::on_host_network;
use super::shim::protocol::Request as ShimRequest;
use super::status::has_labels;
use super::streaming::Stream as StreamKind;

type Answer<T> = Result<Response<T>, Status>;
type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Entries in one message of a streamed list.
const ENTRIES_PER_MESSAGE: usize = 256;

fn answer<T>(value: T) -> Answer<T> {
    Ok(Response::new(value))
}

/// Does it to the end even if the caller breaks off: half a sandbox would be nobody's.
async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, RuntimeError>> + Send + 'static,
) -> Result<T, RuntimeError> {
    tokio::spawn(work).await.map_err(|error| RuntimeError::Shim(error.to_string()))?
}

/// Reads many files off the async threads.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RuntimeError> {
    super::client::blocking(move || Ok(work())).await
}

/// A list cut into messages.
fn streamed<T, M>(items: Vec<T>, message: fn(Vec<T>) -> M) -> Answer<Streamed<M>>
where
    T: Clone + Send + 'static,
    M: Send + 'static,
{
    let messages: Vec<_> =
        items.chunks(ENTRIES_PER_MESSAGE).map(|part| Ok(message(part.to_vec()))).collect();
    answer(stream::iter(messages).boxed())
}

impl Inner {
    fn sandbox_entries(&self, filter: Option<cri::PodSandboxFilter>) -> Vec<cri::PodSandbox> {
        let filter = filter.unwrap_or_default();
        let sandboxes = self.model.sandboxes();
        sandboxes.iter().filter(|one| one.matches(&filter)).map(|one| one.entry()).collect()
    }

    fn container_entries(&self, filter: Option<cri::ContainerFilter>) -> Vec<cri::Container> {
        let filter = filter.unwrap_or_default();
        let containers = self.model.containers();
        containers.iter().filter(|one| one.matches(&filter)).map(|one| one.entry()).collect()
    }

    fn all_container_stats(
        &self,
        filter: Option<cri::ContainerStatsFilter>,
    ) -> Vec<cri::ContainerStats> {
        let filter = filter.unwrap_or_default();
        let filter = cri::ContainerFilter {
            id: filter.id,
            state: None,
            pod_sandbox_id: filter.pod_sandbox_id,
            label_selector: filter.label_selector,
        };
        let containers = self.model.containers();
        let wanted =
            containers.iter().filter(|one| one.matches(&filter) && one.state.borrow().runs());
        wanted.map(|one| self.container_stats(one)).collect()
    }

    fn all_sandbox_stats(
        &self,
        filter: Option<cri::PodSandboxStatsFilter>,
    ) -> Vec<cri::PodSandboxStats> {
        let filter = filter.unwrap_or_default();
        let sandboxes = self.model.sandboxes();
        let wanted = sandboxes.iter().filter(|one| {
            (filter.id.is_empty() || one.id.starts_with(&filter.id))
                && has_labels(&one.config.labels, &filter.label_selector)
                && one.record.lock().ready
        });
        wanted.map(|one| self.sandbox_stats(one)).collect()
    }

    fn event(&self, event: &super::model::Event) -> cri::ContainerEventResponse {
        let containers = self.model.containers_of(&event.sandbox_id);
        cri::ContainerEventResponse {
            container_id: event.container_id.clone(),
            container_event_type: event.kind as i32,
            created_at: event.at,
            pod_sandbox_status: self.model.sandbox(&event.sandbox_id).map(|one| one.status()),
            containers_statuses: containers.iter().map(|one| self.container_status(one)).collect(),
        }
    }

    async fn reopen_log(&self, id: &str) -> Result<(), RuntimeError> {
        let container = self.running_container(id)?;
        let sandbox_id = container.record.lock().sandbox_id.clone();
        let sandbox = self.model.sandbox(&sandbox_id).ok_or(RuntimeError::NoSandbox(sandbox_id))?;
        sandbox.shim.ask(ShimRequest::ReopenLog { id: container.id.clone() }).await?;
        Ok(())
    }

    fn update_resources(
        &self,
        request: cri::UpdateContainerResourcesRequest,
    ) -> Result<(), RuntimeError> {
        let container = self.known_container(&request.container_id)?;
        let wanted = request.linux.unwrap_or_default();
        if container.state.borrow().runs() {
            let cgroup = container.record.lock().cgroup.clone();
            self.cgroups.set(&cgroup, &wanted).during("updating cgroup")?;
        }
        merge(&mut container.resources.lock(), wanted);
        Ok(())
    }
}

/// What an update says replaces what was; what it does not say stays.
fn merge(have: &mut cri::LinuxContainerResources, new: cri::LinuxContainerResources) {
    let number = |have: &mut i64, new: i64| {
        if new != 0 {
            *have = new;
        }
    };
    number(&mut have.cpu_period, new.cpu_period);
    number(&mut have.cpu_quota, new.cpu_quota);
    number(&mut have.cpu_shares, new.cpu_shares);
    number(&mut have.memory_limit_in_bytes, new.memory_limit_in_bytes);
    number(&mut have.memory_swap_limit_in_bytes, new.memory_swap_limit_in_bytes);
    if !new.cpuset_cpus.is_empty() {
        have.cpuset_cpus = new.cpuset_cpus;
    }
    if !new.cpuset_mems.is_empty() {
        have.cpuset_mems = new.cpuset_mems;
    }
    have.unified.extend(new.unified);
}

fn condition(kind: &str) -> cri::RuntimeCondition {
    cri::RuntimeCondition {
        r#type: kind.to_owned(),
        status: true,
        reason: String::new(),
        message: String::new(),
    }
}

#[tonic::async_trait]
impl RuntimeService for EmbeddedRuntime {
    type StreamPodSandboxesStream = Streamed<cri::StreamPodSandboxesResponse>;
    type StreamContainersStream = Streamed<cri::StreamContainersResponse>;
    type StreamContainerStatsStream = Streamed<cri::StreamContainerStatsResponse>;
    type StreamPodSandboxStatsStream = Streamed<cri::StreamPodSandboxStatsResponse>;
    type StreamPodSandboxMetricsStream = Streamed<cri::StreamPodSandboxMetricsResponse>;
    type GetContainerEventsStream = Streamed<cri::ContainerEventResponse>;

    async fn version(&self, _: Request<cri::VersionRequest>) -> Answer<cri::VersionResponse> {
        answer(cri::VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: "keelson".to_owned(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime_api_version: "v1".to_owned(),
        })
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<cri::RunPodSandboxRequest>,
    ) -> Answer<cri::RunPodSandboxResponse> {
        let inner = self.inner.clone();
        let pod_sandbox_id =
            whole(async move { inner.run_sandbox(request.into_inner()).await }).await?;
        answer(cri::RunPodSandboxResponse { pod_sandbox_id })
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<cri::StopPodSandboxRequest>,
    ) -> Answer<cri::StopPodSandboxResponse> {
        let (inner, request) = (self.inner.clone(), request.into_inner());
        whole(async move { inner.stop_sandbox(&request.pod_sandbox_id).await }).await?;
        answer(cri::StopPodSandboxResponse {})
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<cri::RemovePodSandboxRequest>,
    ) -> Answer<cri::RemovePodSandboxResponse> {
        let (inner, request) = (self.inner.clone(), request.into_inner());
        whole(async move { inner.remove_sandbox(&request.pod_sandbox_id).await }).await?;
        answer(cri::RemovePodSandboxResponse {})
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<cri::PodSandboxStatusRequest>,
    ) -> Answer<cri::PodSandboxStatusResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let sandbox = self.inner.model.sandbox(&id).ok_or(RuntimeError::NoSandbox(id))?;
        let containers = self.inner.model.containers_of(&sandbox.id);
        answer(cri::PodSandboxStatusResponse {
            status: Some(sandbox.status()),
            info: HashMap::new(),
            containers_statuses: containers
                .iter()
                .map(|one| self.inner.container_status(one))
                .collect(),
            timestamp: super::model::now(),
        })
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<cri::ListPodSandboxRequest>,
    ) -> Answer<cri::ListPodSandboxResponse> {
        let items = self.inner.sandbox_entries(request.into_inner().filter);
        answer(cri::ListPodSandboxResponse { items })
    }

    async fn stream_pod_sandboxes(
        &self,
        request: Request<cri::StreamPodSandboxesRequest>,
    ) -> Answer<Self::StreamPodSandboxesStream> {
        let items = self.inner.sandbox_entries(request.into_inner().filter);
        streamed(items, |pod_sandboxes| cri::StreamPodSandboxesResponse { pod_sandboxes })
    }

    async fn create_container(
        &self,
        request: Request<cri::CreateContainerRequest>,
    ) -> Answer<cri::CreateContainerResponse> {
        let inner = self.inner.clone();
        let container_id =
            whole(async move { inner.create_container(request.into_inner()).await }).await?;
        answer(cri::CreateContainerResponse { container_id })
    }

    async fn start_container(
        &self,
        request: Request<cri::StartContainerRequest>,
    ) -> Answer<cri::StartContainerResponse> {
        let (inner, request) = (self.inner.clone(), request.into_inner());
        whole(async move { inner.start_container(&request.container_id).await }).await?;
        answer(cri::StartContainerResponse {})
    }

    async fn stop_container(
        &self,
        request: Request<cri::StopContainerRequest>,
    ) -> Answer<cri::StopContainerResponse> {
        let (inner, request) = (self.inner.clone(), request.into_inner());
        whole(async move { inner.stop_container(&request.container_id, request.timeout).await })
            .await?;
        answer(cri::StopContainerResponse {})
    }

    async fn remove_container(
        &self,
        request: Request<cri::RemoveContainerRequest>,
    ) -> Answer<cri::RemoveContainerResponse> {
        let (inner, request) = (self.inner.clone(), request.into_inner());
        whole(async move { inner.remove_container(&request.container_id).await }).await?;
        answer(cri::RemoveContainerResponse {})
    }

    async fn list_containers(
        &self,
        request: Request<cri::ListContainersRequest>,
    ) -> Answer<cri::ListContainersResponse> {
        let containers = self.inner.container_entries(request.into_inner().filter);
        answer(cri::ListContainersResponse { containers })
    }

    async fn stream_containers(
        &self,
        request: Request<cri::StreamContainersRequest>,
    ) -> Answer<Self::StreamContainersStream> {
        let items = self.inner.container_entries(request.into_inner().filter);
        streamed(items, |containers| cri::StreamContainersResponse { containers })
    }

    async fn container_status(
        &self,
        request: Request<cri::ContainerStatusRequest>,
    ) -> Answer<cri::ContainerStatusResponse> {
        let request = request.into_inner();
        let container = self.inner.known_container(&request.container_id)?;
        let mut info = HashMap::new();
        if request.verbose {
            let pid = container.state.borrow().pid;
            info.insert("info".to_owned(), serde_json::json!({ "pid": pid }).to_string());
        }
        answer(cri::ContainerStatusResponse {
            status: Some(self.inner.container_status(&container)),
            info,
        })
    }

    async fn update_container_resources(
        &self,
        request: Request<cri::UpdateContainerResourcesRequest>,
    ) -> Answer<cri::UpdateContainerResourcesResponse> {
        self.inner.update_resources(request.into_inner())?;
        answer(cri::UpdateContainerResourcesResponse {})
    }

    async fn reopen_container_log(
        &self,
        request: Request<cri::ReopenContainerLogRequest>,
    ) -> Answer<cri::ReopenContainerLogResponse> {
        self.inner.reopen_log(&request.into_inner().container_id).await?;
        answer(cri::ReopenContainerLogResponse {})
    }

    async fn exec_sync(
        &self,
        request: Request<cri::ExecSyncRequest>,
    ) -> Answer<cri::ExecSyncResponse> {
        answer(self.inner.exec_sync(request.into_inner()).await?)
    }

    async fn exec(&self, request: Request<cri::ExecRequest>) -> Answer<cri::ExecResponse> {
        let request = request.into_inner();
        self.inner.running_container(&request.container_id)?;
        let url = self.inner.streams.offer(StreamKind::Exec(request))?;
        answer(cri::ExecResponse { url })
    }

    async fn attach(&self, request: Request<cri::AttachRequest>) -> Answer<cri::AttachResponse> {
        let request = request.into_inner();
        self.inner.running_container(&request.container_id)?;
        let url = self.inner.streams.offer(StreamKind::Attach(request))?;
        answer(cri::AttachResponse { url })
    }

    async fn port_forward(
        &self,
        request: Request<cri::PortForwardRequest>,
    ) -> Answer<cri::PortForwardResponse> {
        let request = request.into_inner();
        let id = request.pod_sandbox_id.clone();
        self.inner.model.sandbox(&id).ok_or(RuntimeError::NoSandbox(id))?;
        let url = self.inner.streams.offer(StreamKind::PortForward(request))?;
        answer(cri::PortForwardResponse { url })
    }

    async fn container_stats(
        &self,
        request: Request<cri::ContainerStatsRequest>,
    ) -> Answer<cri::ContainerStatsResponse> {
        let container = self.inner.known_container(&request.into_inner().container_id)?;
        let inner = self.inner.clone();
        let stats = Some(off_thread(move || inner.container_stats(&container)).await?);
        answer(cri::ContainerStatsResponse { stats })
    }

    async fn list_container_stats(
        &self,
        request: Request<cri::ListContainerStatsRequest>,
    ) -> Answer<cri::ListContainerStatsResponse> {
        let (inner, filter) = (self.inner.clone(), request.into_inner().filter);
        let stats = off_thread(move || inner.all_container_stats(filter)).await?;
        answer(cri::ListContainerStatsResponse { stats })
    }

    async fn stream_container_stats(
        &self,
        request: Request<cri::StreamContainerStatsRequest>,
    ) -> Answer<Self::StreamContainerStatsStream> {
        let (inner, filter) = (self.inner.clone(), request.into_inner().filter);
        let items = off_thread(move || inner.all_container_stats(filter)).await?;
        streamed(items, |container_stats| cri::StreamContainerStatsResponse { container_stats })
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<cri::PodSandboxStatsRequest>,
    ) -> Answer<cri::PodSandboxStatsResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let sandbox = self.inner.model.sandbox(&id).ok_or(RuntimeError::NoSandbox(id))?;
        let inner = self.inner.clone();
        let stats = Some(off_thread(move || inner.sandbox_stats(&sandbox)).await?);
        answer(cri::PodSandboxStatsResponse { stats })
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<cri::ListPodSandboxStatsRequest>,
    ) -> Answer<cri::ListPodSandboxStatsResponse> {
        let (inner, filter) = (self.inner.clone(), request.into_inner().filter);
        let stats = off_thread(move || inner.all_sandbox_stats(filter)).await?;
        answer(cri::ListPodSandboxStatsResponse { stats })
    }

    async fn stream_pod_sandbox_stats(
        &self,
        request: Request<cri::StreamPodSandboxStatsRequest>,
    ) -> Answer<Self::StreamPodSandboxStatsStream> {
        let (inner, filter) = (self.inner.clone(), request.into_inner().filter);
        let items = off_thread(move || inner.all_sandbox_stats(filter)).await?;
        streamed(items, |pod_sandbox_stats| cri::StreamPodSandboxStatsResponse {
            pod_sandbox_stats,
        })
    }

    async fn update_runtime_config(
        &self,
        _: Request<cri::UpdateRuntimeConfigRequest>,
    ) -> Answer<cri::UpdateRuntimeConfigResponse> {
        // The pod network learns its range from the node object, not by this way.
        answer(cri::UpdateRuntimeConfigResponse {})
    }

    async fn status(&self, _: Request<cri::StatusRequest>) -> Answer<cri::StatusResponse> {
        answer(cri::StatusResponse {
            status: Some(cri::RuntimeStatus {
                conditions: vec![condition("RuntimeReady"), condition("NetworkReady")],
            }),
            info: HashMap::new(),
            runtime_handlers: vec![cri::RuntimeHandler {
                name: String::new(),
                features: Some(cri::RuntimeHandlerFeatures {
                    recursive_read_only_mounts: true,
                    user_namespaces: false,
                }),
            }],
            features: Some(cri::RuntimeFeatures {
                supplemental_groups_policy: true,
                user_namespaces_host_network: false,
            }),
        })
    }

    async fn checkpoint_container(
        &self,
        _: Request<cri::CheckpointContainerRequest>,
    ) -> Answer<cri::CheckpointContainerResponse> {
        Err(RuntimeError::Unsupported("checkpoint").into())
    }

    async fn get_container_events(
        &self,
        _: Request<cri::GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        let inner = self.inner.clone();
        let events = BroadcastStream::new(inner.model.events.subscribe());
        let stopping = self.inner.stopping.clone();
        let events = events.map(move |event| match event {
            Ok(event) => Ok(inner.event(&event)),
            // Ends the stream: the listener lists anew and subscribes again.
            Err(error) => Err(Status::data_loss(error.to_string())),
        });
        answer(events.take_until(stopping.cancelled_owned()).boxed())
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<cri::ListMetricDescriptorsRequest>,
    ) -> Answer<cri::ListMetricDescriptorsResponse> {
        answer(cri::ListMetricDescriptorsResponse::default())
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<cri::ListPodSandboxMetricsRequest>,
    ) -> Answer<cri::ListPodSandboxMetricsResponse> {
        answer(cri::ListPodSandboxMetricsResponse::default())
    }

    async fn stream_pod_sandbox_metrics(
        &self,
        _: Request<cri::StreamPodSandboxMetricsRequest>,
    ) -> Answer<Self::StreamPodSandboxMetricsStream> {
        answer(stream::empty().boxed())
    }

    async fn runtime_config(
        &self,
        _: Request<cri::RuntimeConfigRequest>,
    ) -> Answer<cri::RuntimeConfigResponse> {
        let cgroup_driver = cri::CgroupDriver::Cgroupfs as i32;
        answer(cri::RuntimeConfigResponse {
            linux: Some(cri::LinuxRuntimeConfiguration { cgroup_driver }),
        })
    }

    async fn update_pod_sandbox_resources(
        &self,
        request: Request<cri::UpdatePodSandboxResourcesRequest>,
    ) -> Answer<cri::UpdatePodSandboxResourcesResponse> {
        let request = request.into_inner();
        let id = request.pod_sandbox_id;
        let sandbox = self.inner.model.sandbox(&id).ok_or(RuntimeError::NoSandbox(id))?;
        if let Some(wanted) = &request.resources {
            let cgroup = super::layout::pod_cgroup(&sandbox.config, &sandbox.id);
            self.inner.cgroups.set(&cgroup, wanted).during("pod cgroup")?;
        }
        answer(cri::UpdatePodSandboxResourcesResponse {})
    }
}

impl Inner {
    /// The network namespace to connect to ports in; none for the host's.
    pub(super) fn network_namespace(&self, sandbox_id: &str) -> Option<std::path::PathBuf> {
        let sandbox = self.model.sandbox(sandbox_id)?;
        (!on_host_network(&sandbox.config)).then(|| self.layout.namespace(&sandbox.id, "net"))
    }
}
