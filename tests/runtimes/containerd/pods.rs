//! Pods, as a kubelet runs them.

use std::collections::BTreeSet;

use super::cri::{Message, Runtime};
use super::{Containerd, NEEDS};
use crate::lab::lab_with;
use crate::lab::snapshot::Shared;
use crate::runtimes::node::SHARED;

/// One pod.
struct Pod {
    name: String,
    /// The port of the node that leads to its web server.
    port: u64,
    group: &'static str,
}

impl Pod {
    fn new(containerd: &Containerd<'_>, name: &str, port: u64) -> Pod {
        Pod { name: name.to_owned(), port, group: containerd.groups.0 }
    }

    /// RunPodSandbox: its id, or why not.
    fn run(&self, runtime: &Runtime) -> Result<String, String> {
        let metadata =
            Message::new().text(1, &self.name).text(2, &format!("uid-{}", self.name)).text(3, "default");
        let port = Message::new().number(2, 80).number(3, self.port);
        let linux = Message::new().text(1, self.group);
        let config =
            Message::new().message(1, &metadata).text(2, &self.name).message(5, &port).message(8, &linux);
        let answer = runtime.call("RuntimeService/RunPodSandbox", &Message::new().message(1, &config))?;
        Ok(answer.one(1).text())
    }

    /// What a kubelet does when a pod ends.
    fn end(runtime: &Runtime, id: &str) -> Result<(), String> {
        for method in ["StopPodSandbox", "StopPodSandbox", "RemovePodSandbox"] {
            runtime.call(&format!("RuntimeService/{method}"), &Message::new().text(1, id))?;
        }
        Ok(())
    }

    /// The addresses that the runtime knows of a pod.
    fn addresses(runtime: &Runtime, id: &str) -> Vec<String> {
        let answer = runtime.call("RuntimeService/PodSandboxStatus", &Message::new().text(1, id)).unwrap();
        let network = answer.one(1).one(5);
        let more = network.all(2).into_iter().map(|ip| ip.one(1).text());
        std::iter::once(network.one(1).text()).chain(more).collect()
    }
}

/// Does the same for all of these at once.
fn at_once<T: Send, I: Sync>(all: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let started: Vec<_> = all.iter().map(|one| scope.spawn(|| work(one))).collect();
        started.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

#[test]
fn thirty_pods_of_containerd_start_and_end_at_once_each_behind_a_port_of_the_node() {
    lab_with(NEEDS, |host| {
        let containerd = Containerd::new(host, "/jackfield-pods");
        let runtime = containerd.runtime();
        let before = containerd.snapshot();
        let pods: Vec<_> = (0..30).map(|n| Pod::new(&containerd, &format!("pod{n}"), 18100 + n)).collect();
        let ids: Vec<String> =
            at_once(&pods, |pod| pod.run(&runtime)).into_iter().map(Result::unwrap).collect();

        let addresses: BTreeSet<_> = ids.iter().flat_map(|id| Pod::addresses(&runtime, id)).collect();
        assert_eq!(addresses.len(), 60, "each pod has its own, of both families: {addresses:?}");
        for pod in &pods {
            containerd.waits_for_page(pod.port);
            for node in ["198.51.100.2", "[2001:db8:100::2]"] {
                let page = containerd.page_seen_from_outside(&format!("{node}:{}", pod.port));
                assert_eq!(page.as_ref(), Some(&pod.name), "{node}:{}", pod.port);
            }
        }

        let ended = at_once(&ids, |id| Pod::end(&runtime, id));
        assert!(ended.iter().all(Result::is_ok), "{ended:?}");
        containerd.settles_with(0);
        before.same_as(&containerd.snapshot(), SHARED);
    });
}

#[test]
fn a_pod_of_containerd_that_wants_a_port_of_another_is_refused_and_leaves_nothing() {
    lab_with(NEEDS, |host| {
        let containerd = Containerd::new(host, "/jackfield-port");
        let runtime = containerd.runtime();
        let first = Pod::new(&containerd, "first", 18100).run(&runtime).unwrap();
        containerd.waits_for_page(18100);
        let before = containerd.snapshot();
        let complaint = Pod::new(&containerd, "late", 18100).run(&runtime).unwrap_err();
        assert!(complaint.contains("18100") && complaint.contains(&first), "{complaint}");
        containerd.settles_with(1);
        before.same_as(&containerd.snapshot(), &[Shared::Store]);
        assert_eq!(containerd.page_seen_from_outside("198.51.100.2:18100").as_deref(), Some("first"));
    });
}

#[test]
fn pods_live_on_while_containerd_dies_and_end_when_it_is_back() {
    lab_with(NEEDS, |host| {
        let containerd = Containerd::new(host, "/jackfield-back");
        let runtime = containerd.runtime();
        let before = containerd.snapshot();
        let pods = [Pod::new(&containerd, "one", 18100), Pod::new(&containerd, "two", 18101)];
        let ids: Vec<String> =
            at_once(&pods, |pod| pod.run(&runtime)).into_iter().map(Result::unwrap).collect();
        containerd.dies_and_comes_back();
        containerd.waits_for_page(18101);
        assert_eq!(containerd.page_seen_from_outside("198.51.100.2:18101").as_deref(), Some("two"));
        let ended = at_once(&ids, |id| Pod::end(&runtime, id));
        assert!(ended.iter().all(Result::is_ok), "{ended:?}");
        containerd.settles_with(0);
        let changed = before.differences(&containerd.snapshot(), SHARED);
        let daemon = |line: &String| line.contains("process/containerd/");
        assert!(changed.iter().all(daemon), "{changed:?}");
    });
}
