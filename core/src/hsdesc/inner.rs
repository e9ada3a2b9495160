//! The inner layer: the introduction points (rend-spec `[HS-DESC-SECOND-LAYER]`).

use ed25519_dalek::VerifyingKey;

use super::intro::UnverifiedPoint;
use super::netdoc::{self, Item, Section, decode_base64};
use super::{DescriptorError, InnerHeader, IntroPoint, Layer, NUM_INTRO_POINT_MAX};
use crate::time::Wall;

const INTRODUCTION_POINT: &str = "introduction-point";
const POW_PARAMS: &str = "pow-params";

/// The inner layer.
pub(super) struct Inner {
    pub header: InnerHeader,
    pub points: Vec<IntroPoint>,
    pub points_refused: usize,
}

/// The text: header lines, then the points' lines.
pub(super) fn encode<'a>(header: &InnerHeader, points: impl Iterator<Item = &'a str>) -> String {
    let mut text = header_text(header);
    text.extend(points);
    text
}

/// Whether `header` would read back as it is: lines a client accepts, no points, no proof of work among them.
pub(super) fn header_is_sound(header: &InnerHeader) -> bool {
    let text = header_text(header);
    let Ok(items) = netdoc::parse(&text) else { return false };
    items.iter().all(|item| item.keyword != INTRODUCTION_POINT)
        && parse_header(&items).is_ok_and(|read_back| read_back == *header)
}

impl Inner {
    /// Reads the text; `signer` certified the points' keys.
    pub fn parse(text: &str, signer: &VerifyingKey, now: Wall) -> Result<Self, DescriptorError> {
        let items = netdoc::parse(text).map_err(in_inner)?;
        let header_length = items.iter().position(|item| item.keyword == INTRODUCTION_POINT).unwrap_or(items.len());
        let (header, rest) = items.split_at(header_length);
        let header = parse_header(header)?;
        let sections = rest.chunk_by(|_, next| next.keyword != INTRODUCTION_POINT).map(Section);
        let listed = sections.clone().count();
        let points = UnverifiedPoint::verify_all(sections.filter_map(UnverifiedPoint::parse).collect(), signer, now);
        let points: Vec<_> = points.into_iter().flatten().collect();
        if points.len() > NUM_INTRO_POINT_MAX {
            return Err(DescriptorError::TooManyPoints(points.len()));
        }
        let points_refused = listed - points.len();
        Ok(Self { header, points, points_refused })
    }
}

fn header_text(header: &InnerHeader) -> String {
    header.0.iter().flat_map(|line| [line, "\n"]).collect()
}

/// Checks the lines a client understands and keeps all but `pow-params`.
fn parse_header(items: &[Item<'_>]) -> Result<InnerHeader, DescriptorError> {
    let section = Section(items);
    let create2 = section.first("create2-formats").map_err(in_inner)?;
    create2.first_args::<1>().map_err(in_inner)?;
    if !create2.all_args().any(|format| format == "2") {
        return Err(DescriptorError::NoNtor { line: create2.line });
    }
    if let Some(auth) = section.at_most_one("intro-auth-required").map_err(in_inner)? {
        auth.first_args::<1>().map_err(in_inner)?;
        if !auth.all_args().any(|kind| kind == "ed25519") {
            return Err(DescriptorError::IntroAuth { line: auth.line });
        }
    }
    if let Some(single) = section.at_most_one("single-onion-service").map_err(in_inner)? {
        single.first_args::<0>().map_err(in_inner)?;
    }
    if let Some(flow) = section.at_most_one("flow-control").map_err(in_inner)? {
        let [_versions, increment] = flow.first_args().map_err(in_inner)?;
        if !increment.parse::<u8>().is_ok_and(|cells| cells > 0) {
            return Err(DescriptorError::FlowControl { line: flow.line });
        }
    }
    section.all(POW_PARAMS).try_for_each(check_pow_params)?;
    let kept = items.iter().filter(|item| item.keyword != POW_PARAMS);
    Ok(InnerHeader(kept.flat_map(|item| item.text.split('\n')).map(str::to_owned).collect()))
}

/// `pow-params v1 SEED EFFORT EXPIRATION`; other types are ignored.
fn check_pow_params(item: &Item<'_>) -> Result<(), DescriptorError> {
    let [kind] = item.first_args().map_err(in_inner)?;
    if kind != "v1" {
        return Ok(());
    }
    let well_formed = item.first_args().is_ok_and(|[_, seed, effort, _expiration]| {
        decode_base64::<32>(seed).is_some() && effort.parse::<u32>().is_ok()
    });
    if well_formed { Ok(()) } else { Err(DescriptorError::PowParams { line: item.line }) }
}

fn in_inner(error: netdoc::SyntaxError) -> DescriptorError {
    DescriptorError::syntax(Layer::Inner, error)
}
