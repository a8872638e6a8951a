//! Generated inputs: bytes, text and messages that a stranger, a program with a mistake or a sick disk might bring. All of it
//! follows from a seed, which is printed first; `FEIRA_SEED=n` makes the same again, `FEIRA_INPUT_SECONDS=n` more of it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};

/// How long each door is tried in an ordinary run of the tests.
const SECONDS: u64 = 60;
/// Messages inside messages.
const DEPTH_MAX: u32 = 4;

/// The source of one run's inputs.
#[derive(Debug)]
pub struct Generator {
    /// Every choice.
    pub random: fastrand::Rng,
    until: Instant,
}

impl Generator {
    /// For one door; says the seed.
    ///
    /// # Panics
    /// If FEIRA_SEED or FEIRA_INPUT_SECONDS is no number.
    #[must_use]
    #[allow(clippy::print_stderr)] // It is for whoever reads a failed test.
    pub fn of(door: &str) -> Generator {
        let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
        let seed = number("FEIRA_SEED").unwrap_or_else(|| fastrand::u64(..));
        let seconds = number("FEIRA_INPUT_SECONDS").unwrap_or(SECONDS);
        eprintln!("{door}: FEIRA_SEED={seed}, for {seconds} s");
        let until = Instant::now() + Duration::from_secs(seconds);
        Generator { random: fastrand::Rng::with_seed(seed), until }
    }

    /// Whether there is time for more.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// True so many times in a hundred.
    pub fn in_hundred(&mut self, times: u32) -> bool {
        self.random.u32(..100) < times
    }

    /// One of these.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.random.usize(..of.len())]
    }

    /// Any bytes, mostly few.
    pub fn bytes(&mut self) -> Vec<u8> {
        let most = *self.pick(&[0, 1, 8, 64, 600, 5_000]);
        (0..self.random.usize(..=most)).map(|_| self.random.u8(..)).collect()
    }

    /// Changes bytes here and there: flips, cuts, repeats, puts others between.
    pub fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.random.usize(1..=4) {
            let at = self.random.usize(..=bytes.len());
            match self.random.u32(..5) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.random.u32(..8),
                1 if at < bytes.len() => bytes[at] = *self.pick(&[0, 0xff, 0x7f, 0x80, b'"', b'\n', b'=']),
                2 => bytes.truncate(at),
                3 => {
                    let again = bytes[at..].to_vec();
                    bytes.extend(again.into_iter().take(256));
                }
                _ => {
                    let other = self.bytes();
                    bytes.splice(at..at, other.into_iter().take(64));
                }
            }
        }
    }

    /// The same of a text; what is no text any more is replaced.
    pub fn spoil_text(&mut self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        self.spoil(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A call of one of our services.
#[derive(Clone, Debug)]
pub struct Call {
    /// As in the request's line: `/package.Service/Method`.
    pub path: String,
    /// The message that it takes.
    pub takes: String,
    /// Callers send a stream of them.
    pub is_streamed: bool,
}

/// Every message and call of the schemas.
#[derive(Debug)]
pub struct Schemas {
    messages: HashMap<String, DescriptorProto>,
    /// Every call, in the order of the schemas.
    pub calls: Vec<Call>,
}

impl Schemas {
    /// Ours.
    ///
    /// # Panics
    /// If they cannot be read: the build made them.
    #[must_use]
    pub fn ours() -> Schemas {
        let set = FileDescriptorSet::decode(proto::DESCRIPTORS).expect("the build made it");
        let mut schemas = Schemas { messages: HashMap::new(), calls: Vec::new() };
        for file in set.file {
            let package = format!(".{}", file.package());
            for message in &file.message_type {
                schemas.add(&package, message);
            }
            for service in &file.service {
                schemas.calls.extend(service.method.iter().map(|method| Call {
                    path: format!("/{}.{}/{}", file.package(), service.name(), method.name()),
                    takes: method.input_type().to_owned(),
                    is_streamed: method.client_streaming(),
                }));
            }
        }
        schemas
    }

    fn add(&mut self, within: &str, message: &DescriptorProto) {
        let name = format!("{within}.{}", message.name());
        for inner in &message.nested_type {
            self.add(&name, inner);
        }
        self.messages.insert(name, message.clone());
    }

    /// The bytes of a message of this kind, any fields of which are there with any values; now and then spoilt.
    #[must_use]
    pub fn message(&self, of: &str, generator: &mut Generator) -> Vec<u8> {
        let mut bytes = self.fields(of, generator, DEPTH_MAX);
        if generator.in_hundred(25) {
            generator.spoil(&mut bytes);
        }
        bytes
    }

    fn fields(&self, of: &str, generator: &mut Generator, depth: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Some(message) = self.messages.get(of) else { return generator.bytes() };
        for field in &message.field {
            let most = if field.label() == Label::Repeated { 3 } else { 1 };
            let often = if field.name() == "route" { 95 } else { 70 };
            for _ in 0..if generator.in_hundred(often) { generator.random.usize(1..=most) } else { 0 } {
                let number = u64::from(field.number().unsigned_abs()) << 3;
                match field.r#type() {
                    Type::Message if depth > 0 => {
                        let inner = self.fields(field.type_name(), generator, depth - 1);
                        put_bytes(number, &inner, &mut bytes);
                    }
                    Type::Message => {}
                    Type::String | Type::Bytes => {
                        put_bytes(number, &text(field.name(), generator), &mut bytes);
                    }
                    Type::Fixed64 | Type::Sfixed64 | Type::Double => {
                        put_varint(number | 1, &mut bytes);
                        bytes.extend(value(field.name(), generator).to_le_bytes());
                    }
                    Type::Fixed32 | Type::Sfixed32 | Type::Float => {
                        put_varint(number | 5, &mut bytes);
                        bytes.extend(generator.random.u32(..).to_le_bytes());
                    }
                    _ => {
                        put_varint(number, &mut bytes);
                        put_varint(value(field.name(), generator), &mut bytes);
                    }
                }
            }
        }
        bytes
    }
}

/// A text for a field of this name: often one that was used before.
fn text(name: &str, generator: &mut Generator) -> Vec<u8> {
    let known: &[&str] = match name {
        "cid" | "pid" | "key" | "tag" | "prefix" | "after" => &["ana", "fig", "c/{ana}", "k", "o/{ana}/", ""],
        "data" | "value" => &["{}", "{\"n\":1}", "1", "x", ""],
        "pointer" | "source" => &["/n", "", "/a/b", "n"],
        _ => &["x", "", "test", "127.0.0.1:1"],
    };
    if generator.in_hundred(70) { generator.pick(known).as_bytes().to_vec() } else { generator.bytes() }
}

/// A number for a field of this name: mostly small, or at an end of its range.
fn value(name: &str, generator: &mut Generator) -> u64 {
    match name {
        "group" | "ring_version" if generator.in_hundred(90) => 1,
        _ => match generator.random.u32(..4) {
            0 => *generator.pick(&[0, 1, u64::MAX, i64::MAX as u64, 1 << 63, 1 << 32, 1 << 62]),
            1 => generator.random.u64(..),
            _ => generator.random.u64(..16),
        },
    }
}

fn put_bytes(number: u64, content: &[u8], bytes: &mut Vec<u8>) {
    put_varint(number | 2, bytes);
    put_varint(content.len() as u64, bytes);
    bytes.extend_from_slice(content);
}

fn put_varint(value: u64, bytes: &mut Vec<u8>) {
    prost::encoding::encode_varint(value, bytes);
}
