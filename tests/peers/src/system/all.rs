//! All systems behind one type: found, described, started, and their processes.

use std::path::Path;

use anyhow::bail;

use super::{etcd, feira, postgres, redis};
use crate::args::{Kind, Run, Work};
use crate::install;
use crate::process::Process;
use crate::record::About;

/// A system that can be started.
#[derive(Clone, Debug)]
pub enum System {
    /// A build of feira.
    Feira(feira::Feira),
    /// etcd.
    Etcd(etcd::Etcd),
    /// PostgreSQL.
    Postgres(postgres::Postgres),
    /// Redis.
    Redis(redis::Redis),
}

/// A system that runs; dropping it ends its processes.
#[derive(Debug)]
pub enum Running {
    /// feira.
    Feira(feira::Running),
    /// etcd.
    Etcd(etcd::Running),
    /// PostgreSQL.
    Postgres(postgres::Running),
    /// Redis.
    Redis(redis::Running),
}

impl System {
    /// The systems of a command line, with their programs; what is missing is installed.
    ///
    /// # Errors
    /// A program is missing and cannot be had, or a build of feira cannot be driven.
    pub fn all(run: &Run) -> anyhow::Result<Vec<System>> {
        let mut all = Vec::new();
        let this = run.feira.as_deref();
        for kind in &run.systems {
            all.push(match kind {
                Kind::Feira => System::Feira(feira::Feira::of("feira", program(this)?, this)?),
                Kind::Etcd => System::Etcd(etcd::Etcd::found()?),
                Kind::Postgres => System::Postgres(postgres::Postgres::found(false)?),
                Kind::PostgresCte => System::Postgres(postgres::Postgres::found(true)?),
                Kind::Redis => System::Redis(redis::Redis { program: install::redis()? }),
            });
        }
        for also in &run.also {
            all.push(System::Feira(feira::Feira::of(&also.name, &also.program, this)?));
        }
        Ok(all)
    }

    /// Its name in tables.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            System::Feira(feira) => &feira.name,
            System::Etcd(_) => Kind::Etcd.word(),
            System::Postgres(postgres) if postgres.one_statement => Kind::PostgresCte.word(),
            System::Postgres(_) => Kind::Postgres.word(),
            System::Redis(_) => Kind::Redis.word(),
        }
    }

    /// For the head of the report.
    ///
    /// # Errors
    /// It does not say its version.
    pub fn about(&self) -> anyhow::Result<About> {
        let (program, setup) = match self {
            System::Feira(feira) => (feira.program.clone(), feira::SETUP),
            System::Etcd(etcd) => (etcd.program.clone(), etcd::SETUP),
            System::Postgres(postgres) => (postgres.programs.join("postgres"), postgres.setup()),
            System::Redis(redis) => (redis.program.clone(), redis::SETUP),
        };
        let version = install::version(&program)?;
        Ok(About { name: self.name().to_owned(), version, setup: setup.to_owned() })
    }

    /// Whether it can do this work.
    #[must_use]
    pub fn does(&self, work: Work) -> bool {
        match self {
            System::Feira(_) => true,
            System::Etcd(_) => !matches!(work, Work::UnaryPut | Work::PortalOrder),
            System::Postgres(postgres) if postgres.one_statement => work.is_order(),
            System::Postgres(_) | System::Redis(_) => {
                matches!(work, Work::Put | Work::Get) || work.is_order()
            }
        }
    }

    /// Starts it in an empty folder, and waits until it is ready.
    ///
    /// # Errors
    /// It does not come up: why, as far as its processes say.
    pub async fn start(&self, folder: &Path) -> anyhow::Result<Running> {
        Ok(match self {
            System::Feira(feira) => Running::Feira(feira.start(folder).await?),
            System::Etcd(etcd) => Running::Etcd(etcd.start(folder).await?),
            System::Postgres(postgres) => Running::Postgres(postgres.start(folder).await?),
            System::Redis(redis) => Running::Redis(redis.start(folder).await?),
        })
    }
}

impl Running {
    /// The processes that were started; others are below them.
    #[must_use]
    pub fn roots(&self) -> Vec<u32> {
        let processes: &[Process] = match self {
            Running::Feira(feira) => std::slice::from_ref(&feira.process),
            Running::Etcd(etcd) => &etcd.processes,
            Running::Postgres(postgres) => &postgres.processes,
            Running::Redis(redis) => &redis.processes,
        };
        processes.iter().map(Process::pid).collect()
    }
}

fn program(this: Option<&Path>) -> anyhow::Result<&Path> {
    match this {
        Some(program) => Ok(program),
        None => {
            bail!("--feira FILE is missing: run cargo xtask bench-peers, which builds feira and gives it")
        }
    }
}
