//! A hot standby of a test's PostgreSQL, made by `pg_basebackup`.

use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};

use platform::postgres::{Address, Credentials};
use tokio::process::Command;

use crate::restart::Switch;
use crate::{Database, TestPostgres};

/// Ports that may turn out to be taken, one after the other.
const PORTS_MAX: u32 = 5;

/// A hot standby that follows its primary until it is promoted. It ends when it is dropped: keep it
/// no longer than the primary, in whose folder its data lie.
#[derive(Debug)]
pub struct Standby {
    switch: Switch,
    address: Address,
    superuser: Credentials,
}

impl TestPostgres {
    /// Makes a standby of this server and waits until it accepts connections. What was committed
    /// before is there. One for each server.
    ///
    /// # Panics
    /// If it cannot be made.
    pub async fn standby(&self) -> Standby {
        let mut switch = self.switch();
        let folder = self.cluster().log_path().parent().expect("the log lies in a folder");
        let owner = std::fs::metadata(folder.join("data")).expect("a cluster has data");
        let data = folder.join("standby");
        let made = std::fs::DirBuilder::new().mode(0o700).create(&data);
        made.expect("the cluster's folder is ours");
        chown(&data, Some(owner.uid()), Some(owner.gid())).expect("it is ours to give away");
        let mut copy = Command::new(self.cluster().bin("pg_basebackup"));
        copy.arg("-D").arg(&data).args(["-R", "-X", "stream", "-c", "fast", "-N"]);
        copy.arg("-h").arg(self.cluster().socket_dir());
        copy.args(["-p", &self.cluster().port().to_string()]);
        copy.args(["-U", &self.cluster().superuser().user]);
        switch.become_owner(copy.as_std_mut());
        let done = copy.output().await.expect("pg_basebackup runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        // Should this process be killed, the next run ends the server by this.
        switch.run_folder = Some(self.cluster().run_folder().path().to_owned());
        (switch.log, switch.data) = (data.join("restarts.log"), data);
        for number in 1.. {
            let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
            switch.port = listener.local_addr().expect("it is bound").port();
            drop(listener);
            match switch.try_start().await {
                Ok(()) => break,
                Err(said) => assert!(number < PORTS_MAX, "{said}"),
            }
        }
        let address = Address { port: switch.port, ..self.cluster().address().clone() };
        Standby { switch, address, superuser: self.cluster().superuser().clone() }
    }
}

impl Standby {
    /// Makes it a primary, and waits until it is one.
    ///
    /// # Panics
    /// If it does not become one.
    pub async fn promote(&self) {
        self.switch.run(&["promote", "-w"]).await;
    }

    /// A database of the primary, here.
    #[must_use]
    pub fn database(&self, database: &Database) -> Database {
        let superuser_url = self.address.url(&self.superuser, &database.name);
        Database { address: self.address.clone(), superuser_url, ..database.clone() }
    }
}
