//! What a container's control group is called.

use serde::{Deserialize, Serialize};

use super::{
    container::ContainerCgroupError,
    systemd::{self, Scope},
};

type Result<T> = std::result::Result<T, ContainerCgroupError>;

/// What a container's control group is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupName {
    /// Its path from the root of every hierarchy.
    pub path: String,
    /// The scope that systemd makes of it; none where we make the group by ourselves.
    pub scope: Option<Scope>,
}

impl CgroupName {
    /// A group that we make by ourselves.
    #[must_use]
    pub fn plain(path: String) -> Self {
        CgroupName { path, scope: None }
    }

    /// A scope of systemd, as engines name it: `SLICE:PREFIX:NAME`. An empty slice is the usual one.
    ///
    /// # Errors
    /// It is no such name, or there is no systemd that could be asked.
    pub fn systemd(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let [slice, prefix, name] = parts.as_slice() else {
            return Err(ContainerCgroupError::ScopeName(text.to_owned()));
        };
        let unit = scope(prefix, name).ok_or_else(|| ContainerCgroupError::ScopeName(text.to_owned()))?;
        // Before systemd is asked: what is wrong with the name is the user's to know.
        let named = Slice::new(slice).filter(|_| !slice.is_empty());
        if !slice.is_empty() && named.is_none() {
            return Err(ContainerCgroupError::ScopeName(text.to_owned()));
        }
        let (root, of_user) = systemd::manager().map_err(ContainerCgroupError::NoSystemd)?;
        let usual = || Slice { unit: if of_user { "user.slice" } else { "system.slice" }.to_owned() };
        let slice = named.unwrap_or_else(usual);
        let path = format!("{}{}/{unit}", root.trim_end_matches('/'), slice.path());
        Ok(CgroupName { path, scope: Some(Scope::new(unit, &slice, of_user)) })
    }
}

/// The unit `PREFIX-NAME.scope`, if it can be one.
fn scope(prefix: &str, name: &str) -> Option<String> {
    let stem = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}-{name}") };
    let unit = format!("{stem}.scope");
    (!name.is_empty() && is_unit(&unit)).then_some(unit)
}

/// A slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    unit: String,
}

impl Slice {
    /// The slice of that name, if it can be one: parts between dashes, none of them empty; `-.slice` is the root of all.
    fn new(unit: &str) -> Option<Self> {
        let stem = unit.strip_suffix(".slice")?;
        let whole = stem == "-" || stem.split('-').all(|part| !part.is_empty());
        (whole && is_unit(unit)).then(|| Slice { unit: unit.to_owned() })
    }

    /// Its unit.
    pub(crate) fn unit(&self) -> &str {
        &self.unit
    }

    /// Where its control group is: inside those of all slices that its name begins with (systemd.slice(5)).
    fn path(&self) -> String {
        let stem = self.unit.strip_suffix(".slice").unwrap_or(&self.unit);
        if stem == "-" {
            return String::new();
        }
        let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
        ends.filter_map(|end| Some(format!("/{}.slice", stem.get(..end)?))).collect()
    }
}

/// Whether systemd takes it as the name of a unit (systemd.unit(5), "Valid unit names").
fn is_unit(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@');
    name.len() <= 255 && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slice_lies_in_all_slices_of_its_name() {
        let path = |unit| Slice::new(unit).map(|slice| slice.path());
        assert_eq!(path("system.slice").as_deref(), Some("/system.slice"));
        assert_eq!(path("a-b-c.slice").as_deref(), Some("/a.slice/a-b.slice/a-b-c.slice"));
        assert_eq!(path("-.slice").as_deref(), Some(""));
    }

    #[test]
    fn slice_that_is_none_is_refused() {
        for unit in
            ["", "a", ".slice", "-a.slice", "a-.slice", "a--b.slice", "a/b.slice", "a b.slice", "../x.slice"]
        {
            assert_eq!(Slice::new(unit), None, "{unit}");
        }
    }

    #[test]
    fn scope_is_named_by_prefix_and_name() {
        assert_eq!(scope("docker", "17").as_deref(), Some("docker-17.scope"));
        assert_eq!(scope("", "x").as_deref(), Some("x.scope"));
        for (prefix, name) in [("a", ""), ("a", "../x"), ("a b", "c"), ("a", &*"x".repeat(300))] {
            assert_eq!(scope(prefix, name), None, "{prefix} {name}");
        }
    }

    #[test]
    fn name_that_is_no_scope_is_refused_before_systemd_is_asked() {
        for text in ["", "/docker/17", "a:b", "a:b:c", "a.slice:b:c:d", "x.slice:b:", "../a.slice:b:c"] {
            let refused = CgroupName::systemd(text);
            assert!(matches!(refused, Err(ContainerCgroupError::ScopeName(_))), "{text}: {refused:?}");
        }
    }
}
