//! Keys, names and addresses as people and tor write them: what is read can be written and read again.

use rustbalance_core::NodeId;
use rustbalance_core::hsdesc::ClientKey;
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::onion::client::{ClientName, HsClientDescEncKey};
use rustbalance_core::onion::key_file::{HsIdKeyFile, KeyFormat};

/// `bytes` as each of them.
pub fn keys(bytes: &[u8]) {
    if let Ok(key) = HsIdKeyFile::parse(bytes) {
        for format in [KeyFormat::Tor, KeyFormat::Pem, KeyFormat::Base64] {
            let Ok(written) = key.write(format) else { continue };
            let again = HsIdKeyFile::parse(&written).map(|again| again.keypair().public());
            assert_eq!(again, Ok(key.keypair().public()));
            assert!(format != KeyFormat::Tor || key.format() != format || *written == bytes);
        }
    }
    let text = &*String::from_utf8_lossy(bytes);
    if let Ok(key) = text.parse::<HsClientDescEncKey>() {
        assert_eq!(key.to_auth_line().parse(), Ok(key));
        assert_eq!(key.to_base32().parse(), Ok(key));
    }
    if let Ok(key) = ClientKey::parse(text) {
        let again = ClientKey::parse(&key.keypair().expose_auth_private_line(key.address()));
        assert!(again.is_ok_and(|again| again.keypair().public() == key.keypair().public()));
    }
    if let Ok(name) = text.parse::<ClientName>() {
        assert_eq!(name.as_str().parse(), Ok(name));
    }
    if let Ok(address) = text.parse::<OnionAddress>() {
        assert_eq!(address.host().parse(), Ok(address));
        assert_eq!(OnionAddress::new(address.id()).to_string().parse(), Ok(address));
    }
    if let Some(relay) = RelayFingerprint::from_hex(text) {
        assert_eq!(RelayFingerprint::from_hex(&relay.to_string()), Some(relay));
    }
    let _ = NodeId::from_hex(text);
}
