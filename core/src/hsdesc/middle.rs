//! The middle layer: who may read the inner one (rend-spec `[HS-DESC-FIRST-LAYER]`).

use base64::Engine as _;

use super::netdoc::{self, BASE64_PADDED, BASE64_UNPADDED, Item, Section, decode_base64};
use super::outer::MESSAGE_LABEL;
use super::{DescriptorError, DescriptorFault, Layer};
use crate::onion::low_order;

/// Tor pads this layer's plaintext with NUL bytes to a multiple of this.
const PADDING_MULTIPLE: usize = 10_000;

/// The middle layer.
pub(super) struct Middle {
    /// `desc-auth-ephemeral-key`, x25519.
    pub ephemeral_key: [u8; 32],
    /// The line it stands on; 0 in one that is being built.
    pub ephemeral_key_line: usize,
    /// At least one, possibly random.
    pub clients: Vec<AuthClient>,
    /// The inner layer, encrypted.
    pub encrypted: Vec<u8>,
    /// The line it stands on; 0 in one that is being built.
    pub encrypted_line: usize,
}

/// One `auth-client` line.
#[derive(Clone, Copy)]
pub(super) struct AuthClient {
    pub id: [u8; 8],
    pub iv: [u8; 16],
    /// Encrypted.
    pub cookie: [u8; 16],
}

impl Middle {
    /// The padded plaintext.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = String::with_capacity(netdoc::object_room(self.encrypted.len()) + PADDING_MULTIPLE);
        text.extend([
            "desc-auth-type x25519\ndesc-auth-ephemeral-key ",
            &BASE64_PADDED.encode(self.ephemeral_key),
            "\n",
        ]);
        for client in &self.clients {
            let [id, iv, cookie] =
                [&client.id[..], &client.iv, &client.cookie].map(|field| BASE64_UNPADDED.encode(field));
            text.extend(["auth-client ", &id, " ", &iv, " ", &cookie, "\n"]);
        }
        text.push_str("encrypted\n");
        netdoc::push_object(&mut text, MESSAGE_LABEL, &self.encrypted);
        // Tor ends this layer without a newline.
        text.pop();
        let mut bytes = text.into_bytes();
        bytes.resize(bytes.len().next_multiple_of(PADDING_MULTIPLE), 0);
        bytes
    }

    /// Reads the text without its padding.
    pub fn parse(text: &str) -> Result<Self, DescriptorError> {
        let in_middle = |error| DescriptorError::syntax(Layer::Middle, error);
        let items = netdoc::parse(text).map_err(in_middle)?;
        let section = Section(&items);

        let auth_type = section.first("desc-auth-type").map_err(in_middle)?;
        if auth_type.first_args().map_err(in_middle)? != ["x25519"] {
            return Err(fault(auth_type.line, DescriptorFault::AuthType));
        }
        let ephemeral = section.one("desc-auth-ephemeral-key").map_err(in_middle)?;
        let [base64] = ephemeral.first_args().map_err(in_middle)?;
        let ephemeral_key = decode_base64(base64).ok_or(fault(ephemeral.line, DescriptorFault::EphemeralKey))?;
        let clients =
            section.some("auth-client").map_err(in_middle)?.map(parse_auth_client).collect::<Result<_, _>>()?;
        let encrypted = section.one("encrypted").map_err(in_middle)?;
        let encrypted_line = encrypted.line;
        let encrypted = encrypted.lone_object(MESSAGE_LABEL).map_err(in_middle)?.to_vec();
        Ok(Self { ephemeral_key, ephemeral_key_line: ephemeral.line, clients, encrypted, encrypted_line })
    }

    /// That with its ephemeral key everybody can compute what is meant to be a client's secret, if so.
    pub fn open_secret(&self) -> Option<DescriptorError> {
        let error = fault(self.ephemeral_key_line, DescriptorFault::LowOrderEphemeralKey);
        low_order::x25519(&self.ephemeral_key).then_some(error)
    }
}

fn fault(line: usize, fault: DescriptorFault) -> DescriptorError {
    DescriptorError { layer: Layer::Middle, line, fault }
}

fn parse_auth_client(item: &Item<'_>) -> Result<AuthClient, DescriptorError> {
    let [id, iv, cookie] = item.first_args().map_err(|error| DescriptorError::syntax(Layer::Middle, error))?;
    let decoded =
        || Some(AuthClient { id: decode_base64(id)?, iv: decode_base64(iv)?, cookie: decode_base64(cookie)? });
    decoded().ok_or(fault(item.line, DescriptorFault::AuthClient))
}
