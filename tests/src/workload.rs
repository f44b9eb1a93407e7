//! Manifests of small workloads, and the images they run.

use anyhow::Result;

use crate::registry::Registry;

/// A registry that holds `web:1` and `web:2`; dropped, it is gone.
pub struct Images {
    registry: Registry,
}

impl Images {
    /// Starts the registry and fills it.
    pub fn serve() -> Result<Self> {
        let registry = Registry::with_busybox(&[("web", "1", "one"), ("web", "2", "two")])?;
        Ok(Self { registry })
    }

    /// How a pod names `web` of that version.
    pub fn web(&self, version: u8) -> String {
        self.registry.reference("web", &version.to_string())
    }
}

/// A Deployment `web` of a small HTTP server that ends within a second.
pub fn deployment(image: &str, replicas: u32) -> String {
    format!(
        r#"apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {{app: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: {image}
        command: ["httpd", "-f", "-p", "8080", "-h", "/www"]
        ports: [{{containerPort: 8080, name: http}}]
        readinessProbe: {{httpGet: {{path: /, port: http}}, periodSeconds: 1}}
        resources: {{requests: {{cpu: 10m, memory: 8Mi}}, limits: {{memory: 32Mi}}}}
"#
    )
}

/// A Service `web` in front of it.
pub const SERVICE: &str = r"apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
";

/// A pod that runs a shell command once.
pub fn pod(name: &str, image: &str, command: &str) -> String {
    format!(
        r#"apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{run: {name}}}}}
spec:
  terminationGracePeriodSeconds: 1
  restartPolicy: Never
  containers:
  - name: main
    image: {image}
    command: ["sh", "-c", {command:?}]
"#
    )
}
