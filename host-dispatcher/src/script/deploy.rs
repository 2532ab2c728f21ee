//! Deploy: an image onto a partition of the board, and proof that it is there.
//!
//! Nothing is written before the image is known to fit. What was written is read back from the device and its digest
//! compared with that of the image; the agent's word that it wrote is not enough.

use agent_core::link::Priority;
use agent_core::time::Duration;
use agent_core::wire::response::{Hash, Partition, Written};
use agent_core::wire::{Method, request};

use super::files::{SHORT_DEADLINE, TRANSFER_DEADLINE};
use super::{Bench, Fault};
use crate::board::Direction;
use crate::image::steps::Effort;
use crate::image::worker::{ImageEvent, ImageReader, ImageRequest};
use crate::job::event::{ActionOutcome, Event};
use crate::job::spec::Image;

/// What a deploy came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// Size of the image.
    pub image_bytes: u64,
    /// Bytes sent for it, on their stream.
    pub sent_bytes: u64,
    /// Its digest, as read back.
    pub sha256: [u8; 32],
}

impl Bench {
    /// Does something as an action of the job: with its start, its end and its time on record.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn action<T>(
        &self,
        action: &str,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let started = self.now();
        self.tell(Event::ActionStarted { action: action.to_owned() });
        let outcome = work.await;
        let outcome_word = match &outcome {
            Ok(_) => ActionOutcome::Done,
            Err(fault) => ActionOutcome::Failed { why: fault.message.clone() },
        };
        let seconds = seconds(self.now().since(started));
        self.tell(Event::ActionEnded { action: action.to_owned(), seconds, outcome: outcome_word });
        outcome
    }

    /// Tells the observer.
    pub fn tell(&self, event: Event) {
        let wall = self.wall();
        self.observer(|observer| observer.event(wall, event));
    }

    /// Deploys an image onto the partition `label`.
    ///
    /// # Errors
    /// The image cannot be read or does not fit, the agent fails, or what is read back differs.
    pub async fn deploy(
        &self,
        action: &str,
        label: &str,
        image: &Image,
    ) -> Result<Deployed, Fault> {
        let body = request::Partition { label };
        let answer = self.ask(Method::PARTITION, &body, SHORT_DEADLINE).await?;
        let partition: Partition<'_> = answer.read()?;
        let mut reader = self.open_image(image)?;
        let (image_bytes, _) = self.sized(&mut reader).await?;
        if image_bytes > partition.size {
            return Err(Fault::job(format!(
                "{} has {image_bytes} bytes, and the partition {label} ({}) has {}: \
                 make the image smaller or the partition larger",
                image.path.display(),
                partition.device,
                partition.size
            )));
        }
        let (sent_bytes, sha256) = self.send_image(action, label, image_bytes, &mut reader).await?;
        self.verify(label, image_bytes, &sha256).await?;
        Ok(Deployed { image_bytes, sent_bytes, sha256 })
    }

    fn open_image(&self, image: &Image) -> Result<ImageReader, Fault> {
        let waker = self.waker();
        let request = ImageRequest {
            path: image.path.clone(),
            sha256: image.sha256,
            effort: Effort::default(),
        };
        ImageReader::start(request, move || waker())
            .map_err(|error| Fault::infrastructure(format!("no thread for the image: {error}")))
    }

    async fn sized(&self, reader: &mut ImageReader) -> Result<(u64, Option<[u8; 32]>), Fault> {
        match self.until(|| reader.poll()).await {
            ImageEvent::Sized { bytes, sha256 } => Ok((bytes, sha256)),
            ImageEvent::Failed(error) => Err(Fault::job(error.to_string())),
            ImageEvent::Steps { .. } | ImageEvent::Complete { .. } => {
                Err(Fault::infrastructure("the image's size is missing"))
            }
        }
    }

    async fn send_image(
        &self,
        action: &str,
        label: &str,
        image_bytes: u64,
        reader: &mut ImageReader,
    ) -> Result<(u64, [u8; 32]), Fault> {
        let stream = self.stream(Priority::Bulk, Direction::ToBoard).await?;
        let body = request::BlockWrite { label, stream: stream.id, image_bytes };
        let asked = self.start(Method::BLOCK_WRITE, &body, &[&stream], TRANSFER_DEADLINE);
        let mut sent_bytes = 0;
        let sha256 = loop {
            match self.until(|| reader.poll()).await {
                ImageEvent::Sized { .. } => {}
                ImageEvent::Steps { bytes, image_bytes: done_bytes } => {
                    sent_bytes += bytes.len() as u64;
                    if !stream.write(&bytes).await {
                        // The agent gave up; its answer says why.
                        let fault = asked.answer().await.err();
                        return Err(fault.unwrap_or_else(|| {
                            Fault::infrastructure("the agent gave up the image without a reason")
                        }));
                    }
                    let total_bytes = Some(image_bytes);
                    let action = action.to_owned();
                    self.tell(Event::ActionProgress { action, done_bytes, total_bytes });
                }
                ImageEvent::Complete { sha256, .. } => break sha256,
                ImageEvent::Failed(error) => {
                    stream.reset();
                    return Err(Fault::job(error.to_string()));
                }
            }
        };
        stream.finish().await;
        let answer = asked.answer().await?;
        let _: Written = answer.read()?;
        Ok((sent_bytes, sha256))
    }

    async fn verify(&self, label: &str, length: u64, sha256: &[u8; 32]) -> Result<(), Fault> {
        let body = request::BlockHash { label, offset: 0, length };
        let answer = self.ask(Method::BLOCK_HASH, &body, TRANSFER_DEADLINE).await?;
        let hash: Hash<'_> = answer.read()?;
        if hash.sha256 == sha256 {
            return Ok(());
        }
        Err(Fault::infrastructure(format!(
            "what the partition {label} holds after writing is not the image: the storage of the board \
             may be worn out"
        )))
    }
}

/// A period as people count.
pub fn seconds(period: Duration) -> f64 {
    period.as_micros() as f64 / 1e6
}
