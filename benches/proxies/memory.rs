//! Memory of a proxy, its own and the kernel's on its behalf, by a control group of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::{io, process};

/// A control group; removed when this is dropped.
pub struct Group {
    path: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Group {
    /// Makes one below our own, or, where groups may not be divided (cgroup v2), at the top.
    ///
    /// # Errors
    ///
    /// When there is no memory controller, or when it is not ours to use.
    pub fn new(name: &str) -> io::Result<Self> {
        let name = format!("{name}-{}", process::id());
        let (path, version) = match v1() {
            Some(own) => (own.join(name), Version::One),
            None => {
                let top = Path::new("/sys/fs/cgroup");
                fs::write(top.join("cgroup.subtree_control"), "+memory")?;
                (top.join(name), Version::Two)
            }
        };
        fs::create_dir(&path)?;
        Ok(Self { path, version })
    }

    /// Where a process writes its number to be in it.
    pub fn entrance(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// Bytes that it uses now: those of its processes, and the kernel's sockets, descriptors, pipes and page
    /// tables.
    pub fn used(&self) -> Result<u64, String> {
        let path = self.path.join(match self.version {
            Version::One => "memory.usage_in_bytes",
            Version::Two => "memory.current",
        });
        let said = fs::read_to_string(&path);
        let said = said.map_err(|error| format!("{}: {error}", path.display()))?;
        let number = said.trim().parse();
        number.map_err(|_| format!("{} has no number", path.display()))
    }

    /// Bytes of each accepted socket that the kernel has charged to nobody, as far as we know.
    ///
    /// A socket is made when the client's packet comes, that is for no process. With cgroup v1 it
    /// stays so; with v2 accept(2) charges it (`kmem_cache_charge(newsk)` in net/ipv4, since Linux 6.12).
    pub fn uncharged(&self) -> u64 {
        match self.version {
            Version::One => size_of_socket().unwrap_or(0),
            Version::Two => 0,
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path); // not as long as something runs in it
    }
}

/// Our own group of the memory controller, cgroup v1.
fn v1() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers
            .split(',')
            .any(|it| it == "memory")
            .then(|| path.trim_start_matches('/').to_owned())
    })?;
    Some(Path::new("/sys/fs/cgroup/memory").join(own))
}

/// `struct tcp_sock` with what the allocator adds, slabinfo(5).
fn size_of_socket() -> Option<u64> {
    let slabs = fs::read_to_string("/proc/slabinfo").ok()?;
    let tcp = slabs.lines().find(|line| line.starts_with("TCP "))?;
    tcp.split_whitespace().nth(3)?.parse().ok()
}
