//! Very many containers, one after the other and at once, and what the kernel still holds of them then.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use crate::container::{Container, skip};

/// Lives of containers, one after the other.
const LIVES: usize = 1000;

/// Containers at once.
const AT_ONCE: usize = 50;

/// Objects that the kernel holds of a kind (slabinfo(5)); none where it does not tell.
fn held(kind: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/slabinfo").ok()?;
    let line = text.lines().find(|line| line.split(' ').next() == Some(kind))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// A leak would hold one for each life; others on this machine hold a few, and the kernel clears away behind the scenes.
fn assert_no_leak(kind: &str, before: Option<u64>) {
    const NOISE: u64 = 200;
    let Some(before) = before else {
        skip("the part about the kernel's memory: it does not tell");
        return;
    };
    let end = Instant::now() + Duration::from_secs(60);
    while held(kind).is_some_and(|now| now > before + NOISE) {
        assert!(Instant::now() < end, "{kind}: {before} before, {:?} now", held(kind));
        thread::yield_now();
    }
}

#[test]
fn thousand_lives_leave_nothing() {
    const WORKERS: usize = 4;
    let kinds = ["pid_namespace", "net_namespace", "mnt_cache"];
    let before = kinds.map(held);
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let Some(container) = Container::new("hello", |_| ()) else { return };
                for life in 0..LIVES / WORKERS {
                    container.start();
                    assert_eq!(container.wait(), 0, "life {life}: {}", container.console());
                    container.done(&["delete"]);
                }
                container.nothing_left();
                let bundle: Vec<_> = fs::read_dir(container.path("bundle")).unwrap().collect();
                assert_eq!(bundle.len(), 2, "{bundle:?}");
            });
        }
    });
    eprintln!("{LIVES} lives took {:?}", began.elapsed());
    for (kind, before) in kinds.into_iter().zip(before) {
        assert_no_leak(kind, before);
    }
}

#[test]
fn fifty_containers_start_at_once_and_end_at_once() {
    let containers: Vec<Container> = (0..AT_ONCE).map_while(|_| Container::new("idle", |_| ())).collect();
    let each = |act: fn(&Container)| {
        thread::scope(|scope| {
            for container in &containers {
                scope.spawn(move || act(container));
            }
        });
    };
    each(Container::create);
    each(|container| assert_eq!(container.state()["status"], "created"));
    each(|container| {
        container.done(&["start"]);
    });
    each(|container| assert_eq!(container.state()["status"], "running"));
    each(|container| {
        container.done_with_signal("TERM");
        assert_eq!(container.wait(), 143);
        container.done(&["delete"]);
    });
    for container in &containers {
        container.nothing_left();
    }
}
