//! The disk under every server is full: what cannot be kept is refused, and nothing that was acknowledged is lost.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use super::prelude::{Drill, DrillError, Entrance, Limit, Loss, Needs, Promises, Scene};

pub(crate) const DRILL: Drill = Drill {
    name: "disk-full",
    about: "the disk of every server is full for a while",
    needs: Needs::SmallDisk { megabytes: 128 },
    entrance: Entrance::Service,
    promises: Promises {
        lost: Loss::None,
        errors: &["MISCONF", "UNCERTAIN"],
        stall: Limit { median_ms: 1_000, most_ms: 5_000 },
        elsewhere: Limit { median_ms: 1_000, most_ms: 5_000 },
        heal_ms: 60_000,
    },
    strike: |scene| Box::pin(strike(scene)),
};

/// How long the disk is left full.
const FULL: Duration = Duration::from_secs(3);
/// Bytes written at a time.
const BLOCK: usize = 64 * 1024;

async fn strike(scene: &mut Scene) -> Result<(), DrillError> {
    scene.strike_all();
    let ballast = scene.disk()?.join("ballast");
    scene.remove_later(ballast.clone());
    let written = fill(&ballast).map_err(DrillError::system("fill the disk"))?;
    scene.note("cluster", format!("the disk is full after {} MiB of ballast", written >> 20));
    sleep(FULL).await;
    std::fs::remove_file(&ballast).map_err(DrillError::system("free the disk"))?;
    scene.note("cluster", "the disk has room again");
    Ok(())
}

/// Writes until nothing fits any more; how many bytes that were.
fn fill(path: &Path) -> std::io::Result<u64> {
    let (mut file, block) = (File::create(path)?, vec![0; BLOCK]);
    loop {
        if let Err(error) = file.write_all(&block) {
            let full = error.kind() == std::io::ErrorKind::StorageFull;
            return if full { Ok(file.metadata()?.len()) } else { Err(error) };
        }
    }
}
