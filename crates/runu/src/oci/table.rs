//! Lists of containers and processes.

use std::{ffi::OsString, process::Command};

use runu_container::{Container, ContainerId, Root, Runtime};
use serde_json::Value;

use super::Runner;
use crate::failure::Failure;

/// Everything about our containers that `list` tells, as JSON.
pub(crate) fn ours(root: &Root) -> Vec<Value> {
    root.ids().iter().filter_map(|id| entry(root, id)).collect()
}

fn entry(root: &Root, id: &ContainerId) -> Option<Value> {
    let container = Container::load(root, id).ok()?;
    container.record()?;
    serde_json::from_slice(&container.state_json()).ok()
}

/// The same about ordinary containers, from the runtime that has them; none where there is no runtime.
///
/// # Errors
/// The operator's configuration is broken.
pub(crate) fn ordinary(runner: &Runner) -> Result<Vec<Value>, Failure> {
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
/// Annotations that are ours stand there as well.
///
/// # Errors
/// The operator's configuration is broken.
pub(crate) fn features_of_ordinary(runner: &Runner) -> Result<Option<Value>, Failure> {
    let choice = runner.config()?.ordinary.runtime;
    Ok(Runtime::find(choice.as_deref()).ok().and_then(|runtime| features_of(&runtime)))
}

fn features_of(runtime: &Runtime) -> Option<Value> {
    let output = Command::new(runtime.path()).arg("features").output().ok()?;
    let mut document: Value = serde_json::from_slice(&output.stdout).ok()?;
    let ours = runu_container::annotations().iter().map(|name| Value::from(*name));
    match document
        .as_object_mut()?
        .entry("potentiallyUnsafeConfigAnnotations")
        .or_insert(Value::Array(vec![]))
    {
        Value::Array(names) => names.extend(ours),
        other => *other = ours.collect(),
    }
    output.status.success().then_some(document)
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

fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// What ps(1) tells of these processes; `arguments` are its own.
pub(crate) fn processes(pids: &[i32], arguments: &[OsString]) -> std::io::Result<String> {
    let default = [OsString::from("-ef")];
    let arguments = if arguments.is_empty() { &default } else { arguments };
    let output = Command::new("ps").args(arguments).output()?;
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
        assert_eq!(list(&[]), "ID   PID   STATUS   BUNDLE   CREATED   OWNER\n");
    }

    #[test]
    fn lines_of_other_processes_are_left_out() {
        let text = "UID   PID  PPID CMD\nroot    1     0 init 17\nroot   17     1 runu\n";
        assert_eq!(of_processes(text, &[17]), "UID   PID  PPID CMD\nroot   17     1 runu\n");
    }
}
