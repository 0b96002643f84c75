//! Two pods on one bridge, through the libraries: the heart of a small runtime.
//!
//! ```text
//! cargo build --release --bins --example two_pods
//! unshare --map-root-user --net --mount sh -c 'mount -t tmpfs run /run; mount -t tmpfs lib /var/lib
//!     exec target/release/examples/two_pods conf target/release'
//! ```
#![allow(clippy::print_stdout, reason = "this is a program for people")]

use std::error::Error;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;

use cni::conflist::list::List;
use cni::conflist::{OnFailure, Request, Runtime, folder};
use linux::netns::NetNs;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(networks), Some(plugins)) = (args.next(), args.next()) else {
        return Err("usage: two_pods FOLDER_OF_CONFLISTS FOLDER_OF_PLUGINS".into());
    };
    let runtime = Runtime::new(vec![plugins.into()]);
    let list = folder::find(Path::new(&networks), "jackfield")?.list;

    let pods = [Pod::new("red")?, Pod::new("blue")?];
    let outcome = show(&runtime, &list, &pods);
    // Whatever failed, nothing stays; a DEL of what was never attached succeeds.
    for pod in &pods {
        runtime.del(&list, &pod.request)?;
    }
    outcome
}

fn show(runtime: &Runtime, list: &List, pods: &[Pod; 2]) -> Result<(), Box<dyn Error>> {
    let [red, blue] = pods;
    red.attach(runtime, list)?;
    for address in blue.attach(runtime, list)? {
        // A socket belongs to the namespace in which it was made, and may be used from anywhere.
        let listener = blue.netns.visit(|| TcpListener::bind((address, 0)))??;
        let door = listener.local_addr()?;
        red.netns.visit(|| TcpStream::connect_timeout(&door, Duration::from_secs(5)))??;
        println!("red reaches blue at {address}");
    }
    Ok(())
}

/// A network namespace that ends with this value, and what we want for it.
struct Pod {
    netns: NetNs,
    request: Request,
}

impl Pod {
    fn new(name: &str) -> Result<Pod, Box<dyn Error>> {
        let netns = NetNs::create()?;
        // Nothing is mounted: plugins reach the namespace through our open file.
        let path = format!("/proc/{}/fd/{}", std::process::id(), netns.as_fd().as_raw_fd());
        let request = Request::new(name.parse()?, "eth0".parse()?, path);
        Ok(Pod { netns, request })
    }

    /// Adds this pod to the network, and asks the kernel which addresses it has got.
    fn attach(&self, runtime: &Runtime, list: &List) -> Result<Vec<IpAddr>, Box<dyn Error>> {
        runtime.add(list, &self.request, OnFailure::Delete)?;
        let inside = self.netns.rtnl()?;
        let eth0 = inside.link_by_name("eth0")?.ok_or("ADD succeeded, but there is no eth0")?;
        let addresses = inside.addresses_of(eth0.index)?.into_iter().map(|address| address.net.ip());
        // A link has a link-local IPv6 address too, which says nothing about the network.
        let global = |ip: &IpAddr| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        Ok(addresses.filter(global).collect())
    }
}
