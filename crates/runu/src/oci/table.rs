//! Lists of containers and processes.

use std::{ffi::OsString, fs, os::unix::fs::MetadataExt, process::Command};

use runu_container::{Container, ContainerId, Root, Runtime};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::Runner;
use crate::failure::Failure;

/// Everything about our containers that `list` tells, as JSON.
fn ours(root: &Root) -> Vec<Value> {
    root.ids().iter().filter_map(|id| entry(root, id)).collect()
}

fn entry(root: &Root, id: &ContainerId) -> Option<Value> {
    let container = Container::load(root, id).ok()?;
    container.record()?;
    let mut entry: Value = serde_json::from_slice(&container.state_json()).ok()?;
    let uid = fs::metadata(root.directory(id)).ok()?.uid();
    entry["owner"] = user_name(uid).into();
    Some(entry)
}

/// A user's name as passwd(5) has it; `#17` where it has none, as runc writes it.
fn user_name(uid: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("#{uid}"))
}

/// All containers, ours and the others, in the order of their names.
///
/// # Errors
/// The operator's configuration is broken.
pub(crate) fn all(runner: &Runner) -> Result<Vec<Value>, Failure> {
    let mut all = ours(&runner.root);
    all.extend(ordinary(runner)?);
    all.sort_by(|a, b| a["id"].as_str().cmp(&b["id"].as_str()));
    Ok(all)
}

/// The same about ordinary containers, from the runtime that has them; none where there is no runtime.
fn ordinary(runner: &Runner) -> Result<Vec<Value>, Failure> {
    let containers = runner.root.containers();
    let choice = runner.config()?.ordinary.runtime;
    let Ok(runtime) = Runtime::find(choice.as_deref()) else { return Ok(Vec::new()) };
    if !containers.is_dir() {
        return Ok(Vec::new());
    }
    let output = Command::new(runtime.path())
        .arg("--root")
        .arg(containers)
        .args(["list", "--format", "json"])
        .output();
    let listed: Option<Vec<Value>> =
        output.ok().and_then(|output| serde_json::from_slice(&output.stdout).ok());
    Ok(listed.unwrap_or_default())
}

/// What the runtime of ordinary containers says it can do; none where there is none, or one that does not say.
///
/// # Errors
/// The operator's configuration is broken.
pub(crate) fn features_of_ordinary(runner: &Runner) -> Result<Option<Value>, Failure> {
    let choice = runner.config()?.ordinary.runtime;
    Ok(Runtime::find(choice.as_deref()).ok().and_then(|runtime| features_of(&runtime)))
}

fn features_of(runtime: &Runtime) -> Option<Value> {
    let output = Command::new(runtime.path()).arg("features").output().ok()?;
    let document: Value = serde_json::from_slice(&output.stdout).ok()?;
    (output.status.success() && document.is_object()).then_some(document)
}

/// The same for programs.
///
/// # Errors
/// None that is not a bug.
pub(crate) fn json(containers: &[Value]) -> Result<String, Failure> {
    let listed: Vec<InOrder<'_>> = containers.iter().map(InOrder).collect();
    let text = serde_json::to_string(&listed).map_err(|source| Failure::bug("write JSON", source))?;
    Ok(format!("{text}\n"))
}

/// An object whose fields are written in the order of runc (list.go, `containerState`), for those who read it as text.
struct InOrder<'a>(&'a Value);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const ORDER: &[&str] =
            &["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner"];
        let place = |name: &str| ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
        let mut fields: Vec<(&String, &Value)> = self.0.as_object().into_iter().flatten().collect();
        fields.sort_by_key(|(name, _)| place(name));
        serializer.collect_map(fields)
    }
}

/// The table for people, with the columns of runc.
pub(crate) fn list(containers: &[Value]) -> String {
    let heads = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let keys = ["id", "pid", "status", "bundle", "created", "owner"];
    let mut rows = vec![heads];
    rows.extend(containers.iter().map(|container| {
        keys.map(|key| match &container[key] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        })
    }));
    columns(&rows)
}

/// Lines whose cells are padded as those of runc (Go's tabwriter, least width 12, padding 3): all but the last.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    const LEAST: usize = 12;
    const PADDING: usize = 3;
    let len = |cell: &String| cell.chars().count();
    let width = |column: usize| {
        let longest = rows.iter().filter_map(|row| row.get(column)).map(len).max().unwrap_or(0);
        LEAST.max(longest + PADDING)
    };
    let widths: Vec<usize> = (0..N.saturating_sub(1)).map(width).chain([0]).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<String>())
    };
    rows.iter().map(line).collect()
}

/// What ps(1) tells of these processes; `arguments` are its own.
pub(crate) fn processes(pids: &[i32], arguments: &[OsString]) -> std::io::Result<String> {
    let default = [OsString::from("-ef")];
    let arguments = if arguments.is_empty() { &default } else { arguments };
    let output = Command::new("ps").args(arguments).output()?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(std::io::Error::other(told.lines().next().unwrap_or_default().to_owned()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(of_processes(&text, pids))
}

/// The head and those lines whose column `PID` is one of `pids`.
fn of_processes(text: &str, pids: &[i32]) -> String {
    let mut lines = text.lines();
    let Some(head) = lines.next() else { return String::new() };
    let column = head.split_whitespace().position(|name| name == "PID");
    let ours = lines.filter(|line| {
        let pid =
            column.and_then(|column| line.split_whitespace().nth(column)).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    });
    std::iter::once(head).chain(ours).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_no_container_is_its_head() {
        assert_eq!(list(&[]), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
    }

    #[test]
    fn json_has_the_fields_in_the_order_of_runc() {
        let container =
            serde_json::json!({ "status": "running", "id": "a", "x": 1, "pid": 7, "ociVersion": "1" });
        let text = json(&[container]).unwrap_or_default();
        assert_eq!(text, "[{\"ociVersion\":\"1\",\"id\":\"a\",\"pid\":7,\"status\":\"running\",\"x\":1}]\n");
    }

    #[test]
    fn lines_of_other_processes_are_left_out() {
        let text = "UID   PID  PPID CMD\nroot    1     0 init 17\nroot   17     1 runu\n";
        assert_eq!(of_processes(text, &[17]), "UID   PID  PPID CMD\nroot   17     1 runu\n");
    }
}
