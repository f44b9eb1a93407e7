//! Reading what only Go's type files say: field numbers, zero values on the wire, enums, gates.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;

use regex::Regex;

/// One field of one struct.
#[derive(Debug, Clone)]
pub(crate) struct GoField {
    /// Protobuf number; `2.1` when the field stands in an embedded message.
    pub(crate) number: String,
    go_type: String,
    package: String,
    /// Whether JSON has the field even when it is zero.
    pub(crate) always_written: bool,
    pub(crate) default: Option<String>,
    /// The Go type's name where it is not that of the JSON type.
    pub(crate) named_type: Option<String>,
    /// Gates that must be on.
    pub(crate) gates: Vec<String>,
    inline: bool,
    omit_empty: bool,
    omit_zero: bool,
}

#[derive(Debug, Default)]
struct Package {
    structs: BTreeMap<String, Vec<(String, GoField)>>,
    /// Named types that are no structs, and what they stand for.
    names: BTreeMap<String, String>,
    /// String constants by type.
    values: BTreeMap<String, Vec<String>>,
    /// Types whose constants are all their values.
    enums: BTreeSet<String>,
}

/// The type files by package, named as in the OpenAPI document.
pub(crate) struct GoTypes(BTreeMap<String, Package>);

impl GoTypes {
    pub(crate) fn read(k8s: &Path, staging: &str) -> Result<Self, Box<dyn Error>> {
        let mut packages = BTreeMap::new();
        let api = k8s.join(format!("api@v{staging}"));
        for group in std::fs::read_dir(&api)? {
            let group = group?.path();
            for version in
                group.is_dir().then(|| std::fs::read_dir(&group)).transpose()?.into_iter().flatten()
            {
                let folder = version?.path();
                let name = |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned());
                let (Some(g), Some(v)) = (name(&group), name(&folder)) else { continue };
                if folder.join("types.go").exists() {
                    packages.insert(format!("io.k8s.api.{g}.{v}"), Package::read(&folder)?);
                }
            }
        }
        for (module, path, name) in [
            ("apimachinery", "pkg/apis/meta/v1", "io.k8s.apimachinery.pkg.apis.meta.v1"),
            (
                "apiextensions-apiserver",
                "pkg/apis/apiextensions/v1",
                "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
            ),
            (
                "kube-aggregator",
                "pkg/apis/apiregistration/v1",
                "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1",
            ),
        ] {
            let folder = k8s.join(format!("{module}@v{staging}")).join(path);
            packages.insert(name.to_owned(), Package::read(&folder)?);
        }
        Ok(GoTypes(packages))
    }

    /// Fields of a type by JSON name, those of embedded structs included.
    pub(crate) fn fields(&self, name: &str) -> BTreeMap<String, GoField> {
        let mut found = BTreeMap::new();
        if let Some((package, name)) = name.rsplit_once('.') {
            self.collect(package, name, "", &mut found);
        }
        found
    }

    fn collect(
        &self,
        package: &str,
        name: &str,
        parent: &str,
        found: &mut BTreeMap<String, GoField>,
    ) {
        let fields = self.0.get(package).and_then(|p| p.structs.get(name));
        for (json, field) in fields.into_iter().flatten() {
            let number = if parent.is_empty() || field.number == "0" {
                field.number.clone()
            } else {
                format!("{parent}.{}", field.number)
            };
            if field.inline {
                let (package, name) = self.resolve(package, field.go_type.trim_start_matches('*'));
                let parent = if name == "TypeMeta" { "" } else { number.as_str() };
                self.collect(&package, &name, parent, found);
                continue;
            }
            let mut field = GoField { number, package: package.to_owned(), ..field.clone() };
            field.always_written = self.always_written(package, &field);
            field.named_type = self.named_type(package, &field);
            found.insert(json.clone(), field);
        }
    }

    /// Go writes structs and whatever has no `omitempty`; here without lists, maps and pointers.
    fn always_written(&self, package: &str, field: &GoField) -> bool {
        let go_type = field.go_type.as_str();
        if go_type.starts_with('*') || go_type.starts_with('[') || go_type.starts_with("map[") {
            return false;
        }
        let (at, name) = self.resolve(package, go_type);
        if matches!(name.as_str(), "Time" | "MicroTime" | "RawExtension" | "Duration" | "JSON") {
            return false;
        }
        let is_struct = self.0.get(&at).is_some_and(|p| p.structs.contains_key(&name));
        let underlying = self.0.get(&at).and_then(|p| p.names.get(&name));
        if underlying.is_some_and(|u| u.starts_with('[') || u.starts_with("map[")) {
            return false;
        }
        if is_struct { !field.omit_zero } else { !field.omit_empty && !field.omit_zero }
    }

    fn named_type(&self, package: &str, field: &GoField) -> Option<String> {
        let plain = field.go_type.trim_start_matches('*');
        let (at, name) = self.resolve(package, plain);
        self.0.get(&at)?.names.contains_key(&name).then_some(name)
    }

    /// The values of a field's type where it is an enum, in the order of the file.
    pub(crate) fn enum_values(&self, _owner: &str, field: &GoField) -> Vec<String> {
        let plain = field.go_type.trim_start_matches('*').trim_start_matches("[]");
        let (at, name) = self.resolve(&field.package, plain);
        let package = self.0.get(&at).filter(|p| p.enums.contains(&name));
        package.and_then(|p| p.values.get(&name)).cloned().unwrap_or_default()
    }

    fn resolve(&self, package: &str, go_type: &str) -> (String, String) {
        match go_type.split_once('.') {
            None => (package.to_owned(), go_type.to_owned()),
            Some(("metav1", name)) => {
                ("io.k8s.apimachinery.pkg.apis.meta.v1".to_owned(), name.to_owned())
            }
            Some(("v1" | "corev1" | "core", name)) => {
                ("io.k8s.api.core.v1".to_owned(), name.to_owned())
            }
            Some((_, name)) => (String::new(), name.to_owned()),
        }
    }
}

impl Package {
    fn read(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let mut package = Package::default();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let name =
                path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let generated = name.starts_with("zz_") || name.starts_with("generated");
            if name.ends_with(".go") && !name.ends_with("_test.go") && !generated {
                package.add(&std::fs::read_to_string(&path)?)?;
            }
        }
        Ok(package)
    }

    fn add(&mut self, text: &str) -> Result<(), Box<dyn Error>> {
        let begin = Regex::new(r"^type (\w+) struct \{")?;
        let named = Regex::new(r"^\s*(?:type )?(\w+) (string|map\[\S+|\[\]\S+)$")?;
        let field = Regex::new(r#"^\t(?:(\w+)\s+)?(\*?[\w.\[\]*]+)\s+`([^`]*)`"#)?;
        let json = Regex::new(r#"json:"([^"]*)""#)?;
        let proto = Regex::new(r#"protobuf:"[a-z0-9]+,(\d+)"#)?;
        let value = Regex::new(r#"^\s*\w+\s+(\w+)\s*=\s*"([^"]*)""#)?;
        let gate = Regex::new(r"\+featureGate=([\w,]+)")?;
        let default = Regex::new(r"\+default=(.+)$")?;
        let mut inside: Option<String> = None;
        let mut comments: Vec<String> = Vec::new();
        for line in text.lines() {
            let trimmed = line.trim();
            if trimmed.starts_with("//") {
                comments.push(trimmed.to_owned());
                continue;
            }
            if let Some(found) = begin.captures(line) {
                inside = Some(found[1].to_owned());
                self.structs.entry(found[1].to_owned()).or_default();
            } else if line == "}" {
                inside = None;
            } else if let (Some(owner), Some(found)) = (&inside, field.captures(line)) {
                let tags = &found[3];
                if let Some(json) = json.captures(tags) {
                    let mut parts = json[1].split(',');
                    let name = parts.next().unwrap_or_default().to_owned();
                    let options: Vec<&str> = parts.collect();
                    let number = proto.captures(tags).map_or("0".to_owned(), |p| p[1].to_owned());
                    let go_type = found[2].to_owned();
                    let mark = |r: &Regex| {
                        comments.iter().find_map(|c| r.captures(c).map(|m| m[1].trim().to_owned()))
                    };
                    let gates = mark(&gate)
                        .map(|g| g.split(',').map(str::to_owned).collect())
                        .unwrap_or_default();
                    let made = GoField {
                        number,
                        go_type,
                        package: String::new(),
                        always_written: false,
                        default: mark(&default).filter(|d| !d.contains(' ')),
                        named_type: None,
                        gates,
                        inline: options.contains(&"inline") || name.is_empty(),
                        omit_empty: options.contains(&"omitempty"),
                        omit_zero: options.contains(&"omitzero"),
                    };
                    self.structs.entry(owner.clone()).or_default().push((name, made));
                }
            } else if let Some(found) = named.captures(line) {
                self.names.insert(found[1].to_owned(), found[2].to_owned());
                if comments.iter().any(|c| c.trim_start_matches('/').trim() == "+enum") {
                    self.enums.insert(found[1].to_owned());
                }
            } else if let Some(found) = value.captures(line) {
                let values = self.values.entry(found[1].to_owned()).or_default();
                if !values.contains(&found[2].to_owned()) {
                    values.push(found[2].to_owned());
                }
            }
            comments.clear();
        }
        Ok(())
    }
}
