//! What the configuration needs from the kernel: twins, fences, reserved ports; and the way back.
//!
//! One of these per daemon. What must be put back one day is written to a file of the run directory before it is changed, so
//! that a daemon that was killed finds it at its next start.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sluice_shm::RunDir;

use super::link::Link;
use crate::api::TwinStatus;
use crate::config::Config;
use crate::system::{Fence, KeepAlive, ReservedPorts, System, SystemError, TapTwin, TwinPlan};

/// Why the kernel's part of a configuration cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The kernel refused.
    #[error(transparent)]
    System(#[from] SystemError),
    /// Somebody listens where a pool wants its ports.
    #[error(
        "pool `{pool}` is the box's own address {address}, and these sockets listen on its ports {first}-{last}: {sockets}; \
         stop them, bind them to another address, or take another range for `ports`"
    )]
    Listening {
        /// The pool.
        pool: String,
        /// The address.
        address: String,
        /// First port of the pool.
        first: u16,
        /// Last port of the pool.
        last: u16,
        /// The sockets.
        sockets: String,
    },
    /// Packets on the other queues would reach nobody.
    #[error(
        "`{lower}` receives on {found} queues and `{device}` polls {polled}: write `xdp:{lower},queues={found}`, or let it \
         receive on fewer (`ethtool -L {lower} combined {polled}`)"
    )]
    Queues {
        /// The interface.
        lower: String,
        /// The device of the configuration.
        device: String,
        /// Queues of the interface.
        found: usize,
        /// Queues of the device.
        polled: usize,
    },
    /// The way back could not be written down.
    #[error("cannot write {}: {error}; nothing was changed, because it could not be put back after a crash", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

struct Twin {
    tap: TapTwin,
    /// As last configured; `None` before the port's MAC address was known.
    plan: Option<TwinPlan>,
}

pub(crate) struct Kernel {
    system: System,
    record: PathBuf,
    twins: BTreeMap<String, Twin>,
    fences: BTreeMap<String, Fence>,
    reserved: BTreeMap<(u16, u16), ReservedPorts>,
}

/// What a preparation has added, to be taken away again if the configuration does not come about.
#[derive(Default)]
pub(crate) struct Prepared {
    twins: Vec<String>,
    fences: Vec<String>,
    reserved: Vec<(u16, u16)>,
}

/// The file of the run directory.
#[derive(Default, Serialize, Deserialize)]
struct Record {
    fences: Vec<String>,
    reserved: Vec<((u16, u16), String)>,
}

impl Kernel {
    pub(crate) fn new(run: &RunDir) -> Result<Self, KernelError> {
        let system = System::new()?;
        if let Err(error) = system.set_gc_thresh() {
            tracing::warn!("the neighbour tables keep their limits: {error}");
        }
        let mut kernel = Self {
            system,
            record: run.path().join("kernel.json"),
            twins: BTreeMap::new(),
            fences: BTreeMap::new(),
            reserved: BTreeMap::new(),
        };
        kernel.recall();
        Ok(kernel)
    }

    pub(crate) fn system(&self) -> &System {
        &self.system
    }

    /// Takes over what an earlier life has left: it is either needed again or put back by the first [`Kernel::tidy`].
    fn recall(&mut self) {
        let Ok(text) = fs::read_to_string(&self.record) else { return };
        let record: Record = match serde_json::from_str(&text) {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(
                    "{} is damaged ({error}); restore the fenced interfaces by hand",
                    self.record.display()
                );
                return;
            }
        };
        for text in record.fences {
            match Fence::from_json(&self.system, &text) {
                Ok(fence) => drop(self.fences.insert(fence.interface().to_owned(), fence)),
                Err(error) => tracing::error!("{error}"),
            }
        }
        for (range, text) in record.reserved {
            match ReservedPorts::from_json(&text) {
                Ok(ports) => drop(self.reserved.insert(range, ports)),
                Err(error) => tracing::error!("{error}"),
            }
        }
    }

    fn write_down(&self) -> Result<(), KernelError> {
        let mut record = Record::default();
        for fence in self.fences.values() {
            record.fences.push(fence.to_json()?);
        }
        for (range, ports) in &self.reserved {
            record.reserved.push((*range, ports.to_json()?));
        }
        let failed = |error| KernelError::Record { path: self.record.clone(), error };
        if record.fences.is_empty() && record.reserved.is_empty() {
            return match fs::remove_file(&self.record) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
                _ => Ok(()),
            };
        }
        let text = serde_json::to_string(&record).map_err(|error| failed(error.into()))?;
        let temporary = self.record.with_extension("json.new");
        fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &self.record)).map_err(failed)
    }

    /// Adds what a configuration needs and does not have yet. Nothing is taken away, so that the present one goes on.
    pub(crate) async fn prepare(
        &mut self,
        config: &Config,
        dataplane: bool,
    ) -> Result<Prepared, KernelError> {
        let mut prepared = Prepared::default();
        match self.add(config, dataplane, &mut prepared).await {
            Ok(()) => Ok(prepared),
            Err(error) => {
                self.undo(prepared).await;
                Err(error)
            }
        }
    }

    async fn add(
        &mut self,
        config: &Config,
        dataplane: bool,
        prepared: &mut Prepared,
    ) -> Result<(), KernelError> {
        for (pool, address, (first, last)) in own_addresses(config) {
            if self.reserved.contains_key(&(first, last)) {
                continue;
            }
            let sockets = self.system.listening_conflicts(first, last, address).await?;
            if !sockets.is_empty() {
                let address = address.to_string();
                return Err(KernelError::Listening {
                    pool,
                    address,
                    first,
                    last,
                    sockets: sockets.join(", "),
                });
            }
            let ports = self.system.reserve_ports(first, last).await?;
            self.reserved.insert((first, last), ports);
            prepared.reserved.push((first, last));
            self.write_down()?;
        }
        for interface in &config.interfaces {
            let device = &interface.device.value;
            let Some((lower, polled)) = device.lower().zip(device.xdp_queues()) else { continue };
            let found = self.system.receive_queues(lower);
            if found > polled {
                let (lower, device) = (lower.to_owned(), device.to_string());
                return Err(KernelError::Queues { lower, device, found, polled });
            }
        }
        for lower in lowers(config) {
            if !dataplane {
                // A program that a killed dataplane has left redirects every frame to a socket that is no more.
                let removed = self.system.clear_xdp(&lower).await?;
                if removed > 0 {
                    tracing::info!(interface = lower, "removed a leftover XDP program");
                }
            }
            let fence = match self.fences.get(&lower) {
                Some(fence) => fence.clone(),
                None => {
                    let fence = self.system.survey(&lower).await?;
                    prepared.fences.push(lower);
                    fence
                }
            };
            self.put_up(fence).await?;
        }
        for interface in &config.interfaces {
            let name = &interface.name.value;
            if !self.twins.contains_key(name) {
                let tap = self.system.tap(name, interface.mtu).await?;
                self.twins.insert(name.clone(), Twin { tap, plan: None });
                prepared.twins.push(name.clone());
            }
        }
        Ok(())
    }

    /// Fences again what has gone and come back: the kernel has made it anew, without its fence.
    pub(crate) async fn look_after_fences(&mut self) {
        for fence in self.fences.values().cloned().collect::<Vec<_>>() {
            match self.fence_again(&fence).await {
                Ok(false) => {}
                Ok(true) => {
                    tracing::info!(
                        interface = fence.interface(),
                        "the interface has come back and is fenced again"
                    );
                }
                Err(error) => tracing::error!("{error}"),
            }
        }
    }

    async fn fence_again(&mut self, fence: &Fence) -> Result<bool, KernelError> {
        if !self.system.is_replaced(fence).await? {
            return Ok(false);
        }
        let anew = self.system.survey(fence.interface()).await?;
        self.put_up(anew).await?;
        Ok(true)
    }

    /// Puts a fence up. What it changes is written down before.
    async fn put_up(&mut self, fence: Fence) -> Result<(), KernelError> {
        let lower = fence.interface().to_owned();
        self.fences.insert(lower.clone(), fence.clone());
        self.write_down()?;
        let raised = self.system.raise(fence).await?;
        self.fences.insert(lower, raised);
        self.write_down()
    }

    /// Takes away what a preparation has added. Goes on after a failure: there is nothing better to do.
    pub(crate) async fn undo(&mut self, prepared: Prepared) {
        for name in prepared.twins {
            self.remove_twin(&name).await;
        }
        for name in prepared.fences {
            self.restore_fence(&name).await;
        }
        for range in prepared.reserved {
            self.release(range).await;
        }
        self.write_down_or_complain();
    }

    /// Takes away what a configuration does not need. Without one: everything.
    pub(crate) async fn tidy(&mut self, config: Option<&Config>) {
        let twins: BTreeSet<String> =
            config.map(|c| c.interfaces.iter().map(|i| i.name.value.clone()).collect()).unwrap_or_default();
        let fences: BTreeSet<String> = config.map(lowers).unwrap_or_default();
        let ports: BTreeSet<(u16, u16)> = config
            .map(|c| own_addresses(c).into_iter().map(|(_, _, range)| range).collect())
            .unwrap_or_default();
        for name in self.twins.keys().filter(|n| !twins.contains(*n)).cloned().collect::<Vec<_>>() {
            self.remove_twin(&name).await;
        }
        for name in self.fences.keys().filter(|n| !fences.contains(*n)).cloned().collect::<Vec<_>>() {
            self.restore_fence(&name).await;
        }
        for range in self.reserved.keys().filter(|r| !ports.contains(*r)).copied().collect::<Vec<_>>() {
            self.release(range).await;
        }
        self.write_down_or_complain();
    }

    async fn remove_twin(&mut self, name: &str) {
        if let Some(twin) = self.twins.remove(name)
            && let Err(error) = twin.tap.remove().await
        {
            tracing::error!("{error}");
        }
    }

    async fn restore_fence(&mut self, name: &str) {
        if let Some(fence) = self.fences.remove(name)
            && let Err(error) = fence.restore().await
        {
            tracing::error!("{error}");
        }
    }

    async fn release(&mut self, range: (u16, u16)) {
        if let Some(ports) = self.reserved.remove(&range)
            && let Err(error) = ports.restore().await
        {
            tracing::error!("{error}");
        }
    }

    fn write_down_or_complain(&self) {
        if let Err(error) = self.write_down() {
            tracing::error!("{error}");
        }
    }

    /// Gives the twins their MAC addresses and addresses, as far as the dataplane has told of their ports. Says whether
    /// anything was done. All twins are tried; the first error is returned.
    pub(crate) async fn configure(&mut self, config: &Config, link: &Link) -> Result<bool, KernelError> {
        let mut done = false;
        let mut outcome = Ok(());
        for interface in &config.interfaces {
            let Some(port) = link.port(interface.device.as_str()) else { continue };
            let Some(twin) = self.twins.get_mut(&interface.name.value) else { continue };
            if port.mac == [0; 6] {
                continue;
            }
            let plan = TwinPlan {
                name: interface.name.value.clone(),
                mac: port.mac,
                mtu: interface.mtu,
                addresses: interface.addresses.iter().map(|a| a.value).collect::<Vec<IpNet>>(),
                lower: interface.device.lower().map(str::to_owned),
            };
            if twin.plan.as_ref() == Some(&plan) {
                continue;
            }
            match self.system.configure_twin(&plan).await {
                Ok(()) => {
                    tracing::info!(interface = plan.name, "twin is ready");
                    twin.plan = Some(plan);
                    done = true;
                }
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome?;
        Ok(done)
    }

    /// A twin that is not ready yet.
    pub(crate) fn unready(&self) -> impl Iterator<Item = &str> {
        self.twins.iter().filter(|(_, twin)| twin.plan.is_none()).map(|(name, _)| name.as_str())
    }

    /// Twins are configured anew even if their plan is the same: a new life of the dataplane.
    pub(crate) fn forget_plans(&mut self) {
        for twin in self.twins.values_mut() {
            twin.plan = None;
        }
    }

    /// Keeps the routers on ready twins resolved. False if it has to be called again within seconds.
    pub(crate) async fn keep_alive(&self, config: &Config) -> bool {
        let ready = |name: &str| self.twins.get(name).is_some_and(|twin| twin.plan.is_some());
        let gateways: Vec<_> = config.gateways().into_iter().filter(|(name, _)| ready(name)).collect();
        match self.system.keep_alive(&gateways).await {
            Ok(KeepAlive::ByKernel) => true,
            Ok(KeepAlive::CallAgainWithin(_)) => false,
            Err(error) => {
                tracing::warn!("routers are not kept resolved: {error}");
                false
            }
        }
    }

    pub(crate) fn twin_status(&self) -> Vec<TwinStatus> {
        self.twins
            .values()
            .map(|twin| TwinStatus { name: twin.tap.name().to_owned(), ready: twin.plan.is_some() })
            .collect()
    }

    pub(crate) fn fenced(&self) -> Vec<String> {
        self.fences.keys().cloned().collect()
    }
}

/// Kernel interfaces below `xdp:` and `packet:` devices.
fn lowers(config: &Config) -> BTreeSet<String> {
    config.interfaces.iter().filter_map(|i| i.device.lower().map(str::to_owned)).collect()
}

type OwnAddress = (String, std::net::IpAddr, (u16, u16));

/// Pools on an interface's own address: name, address, ports.
fn own_addresses(config: &Config) -> Vec<OwnAddress> {
    let mut found = Vec::new();
    for pool in &config.pools {
        for prefix in &pool.prefixes {
            for address in config.interfaces.iter().flat_map(|i| &i.addresses) {
                if let IpNet::V4(own) = address.value
                    && prefix.contains(&own.addr())
                {
                    found.push((pool.name.value.clone(), own.addr().into(), pool.ports));
                }
            }
        }
    }
    found
}
