//! Containers of an ordinary user.

use serde_json::json;

use crate::container::{Container, ourselves};

#[test]
fn ordinary_users_container_runs_in_a_user_namespace_of_its_own() {
    let Some(container) = Container::of_ordinary_user("idle", |_| ()) else { return };
    container.start_and_wait_until_ready();
    for process in [container.supervisor(), container.guest()] {
        for kind in ["user", "pid", "net", "ipc", "uts", "mnt"] {
            assert_ne!(process.namespace(kind), ourselves().namespace(kind), "{kind}");
        }
        assert_eq!(process.status()["CapEff"], "0000000000000000");
        assert_eq!(process.user(), 65534);
    }
    assert_eq!(container.guest().status()["Seccomp"], "2");
    container.done(&["delete", "--force"]);
    container.nothing_left();
}

#[test]
fn ordinary_users_container_has_the_maps_that_are_asked_for() {
    let Some(container) = Container::of_ordinary_user("idle", |config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
        config["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 65534, "size": 1 }]);
        config["linux"]["gidMappings"] = json!([{ "containerID": 0, "hostID": 65534, "size": 1 }]);
    }) else {
        return;
    };
    container.start();
    let map = container.guest().read("uid_map");
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "65534", "1"]);
    assert_eq!(container.guest().status()["CapEff"], "0000000000000000");
}

#[test]
fn ordinary_users_hooks_run_inside_and_outside() {
    let Some(container) = Container::of_ordinary_user("idle", |_| ()) else { return };
    let mut config = container.config();
    let told = container.path("told");
    let hook = |moment: &str| {
        let script = format!("readlink /proc/self/ns/net > {}.{moment}", told.display());
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }])
    };
    config["hooks"] =
        json!({ "createRuntime": hook("createRuntime"), "createContainer": hook("createContainer") });
    container.configure(&config);
    container.start();
    let told = |moment: &str| std::fs::read_to_string(container.path(&format!("told.{moment}"))).unwrap();
    assert_eq!(told("createRuntime"), format!("net:[{}]\n", ourselves().namespace("net")));
    assert_eq!(told("createContainer"), format!("net:[{}]\n", container.guest().namespace("net")));
}

#[test]
fn ordinary_user_cannot_map_what_is_not_theirs() {
    let Some(container) = Container::of_ordinary_user("idle", |config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
        config["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
        config["linux"]["gidMappings"] = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    }) else {
        return;
    };
    let status = container.creation().status().unwrap();
    assert_eq!(status.code(), Some(1), "{}", container.console());
    container.nothing_left();
}

#[test]
fn ordinary_users_hook_of_the_start_ends_the_container() {
    let Some(container) = Container::of_ordinary_user("idle", |config| {
        config["hooks"] = json!({ "startContainer": [{ "path": "/bin/sh" }] });
    }) else {
        return;
    };
    container.create();
    assert_eq!(container.call(&["start"]).status.code(), Some(1));
    assert!(container.logged().contains("startContainer hook"), "{}", container.logged());
    container.wait();
    assert_eq!(container.state()["status"], "stopped");
    container.done(&["delete"]);
    container.nothing_left();
}
