//! The inner layer: the introduction points (rend-spec `[HS-DESC-SECOND-LAYER]`).

use super::error::PointError;
use super::intro::{UnverifiedPoint, verify_all};
use super::netdoc::{self, Item, Section};
use super::{DescriptorError, DescriptorFault, InnerHeader, Layer, NUM_INTRO_POINT_MAX, PowParams, Reader};
use crate::onion::signature::SharedSigner;
use crate::time::Wall;

const INTRODUCTION_POINT: &str = "introduction-point";
const POW_PARAMS: &str = "pow-params";

/// The inner layer.
pub(super) struct Inner<'a> {
    pub header: InnerHeader,
    pub pow: Option<PowParams>,
    pub points: Vec<Listed<'a>>,
}

/// One point that is listed.
pub(super) struct Listed<'a> {
    /// Where it begins.
    pub line: usize,
    /// What it says, as far as that can be read; with `refused` `None` it is a good point.
    pub point: Option<UnverifiedPoint<'a>>,
    pub refused: Option<PointError>,
}

/// The text: header lines, proof of work last among them as tor has it, then the points' lines.
pub(super) fn encode<'a>(
    header: &InnerHeader,
    pow: Option<&PowParams>,
    points: impl Iterator<Item = &'a str> + Clone,
) -> String {
    let mut text = header_text(header);
    text.reserve(points.clone().map(str::len).sum());
    text.extend(pow.map(|params| params.line() + "\n"));
    text.extend(points);
    text
}

/// Whether `header` would read back as it is: lines a client accepts, no points, no proof of work among them.
pub(super) fn header_is_sound(header: &InnerHeader) -> bool {
    let text = header_text(header);
    let Ok(items) = netdoc::parse(&text) else { return false };
    items.iter().all(|item| item.keyword != INTRODUCTION_POINT)
        && parse_header(&items, items.len()).is_ok_and(|read_back| read_back == (header.clone(), None))
}

impl<'a> Inner<'a> {
    /// Takes the lines apart; see [`Self::read`].
    pub fn parse(text: &'a str) -> Result<Vec<Item<'a>>, DescriptorError> {
        netdoc::parse(text).map_err(in_inner)
    }

    /// Reads `items`; `signer` certified the points' keys. What is wrong with header or number of points is for
    /// `reader` to judge, and broken points stand among the others.
    pub fn read(
        items: &'a [Item<'_>],
        signer: &SharedSigner,
        now: Wall,
        reader: &mut impl Reader,
    ) -> Result<Self, DescriptorError> {
        let header_length = items.iter().position(begins_a_point).unwrap_or(items.len());
        let nothing = <(InnerHeader, Option<PowParams>)>::default;
        let header = parse_header(items, header_length);
        let (header, pow) = header.or_else(|error| reader.objects(error).map(|()| nothing()))?;
        let (_, points) = items.split_at(header_length);
        let mut points: Vec<_> = points.chunk_by(|_, next| !begins_a_point(next)).map(list).collect();
        verify_all(&mut points, signer, now);
        // Tor counts the points that it keeps.
        let mut kept = points.iter().filter(|listed| listed.refused.is_none_or(|error| error.fault.is_ours_alone()));
        let count = kept.clone().count();
        if let Some(first_too_many) = kept.nth(NUM_INTRO_POINT_MAX) {
            reader.objects(fault(first_too_many.line, DescriptorFault::TooManyPoints(count)))?;
        }
        Ok(Self { header, pow, points })
    }
}

fn list<'a>(section: &'a [Item<'_>]) -> Listed<'a> {
    let line = section.first().map_or(0, |item| item.line);
    match UnverifiedPoint::parse(Section(section)) {
        Ok(point) => Listed { line, point: Some(point), refused: None },
        Err(error) => Listed { line, point: None, refused: Some(error) },
    }
}

fn fault(line: usize, fault: DescriptorFault) -> DescriptorError {
    DescriptorError { layer: Layer::Inner, line, fault }
}

fn header_text(header: &InnerHeader) -> String {
    header.0.iter().flat_map(|line| [line, "\n"]).collect()
}

/// Tor cuts the text where a line begins with just this.
fn begins_a_point(item: &Item<'_>) -> bool {
    item.first_line.strip_prefix(INTRODUCTION_POINT).is_some_and(|rest| rest.starts_with(' '))
}

/// Checks the lines a client understands, which like tor it finds among the points, too, and keeps all that stand there
/// before `items[length]` but `pow-params`, which it reads.
fn parse_header(items: &[Item<'_>], length: usize) -> Result<(InnerHeader, Option<PowParams>), DescriptorError> {
    let section = Section(items);
    // If it is missing, then on the header's last line.
    _ = Section(items.get(..length).unwrap_or(items)).some("create2-formats").map_err(in_inner)?;
    let create2 = section.first("create2-formats").map_err(in_inner)?;
    create2.first_args::<1>().map_err(in_inner)?;
    if !create2.rest().split(' ').any(|format| netdoc::number(format) == Some(2_u16)) {
        return Err(fault(create2.line, DescriptorFault::NoNtor));
    }
    if let Some(auth) = section.at_most_one("intro-auth-required").map_err(in_inner)? {
        auth.first_args::<1>().map_err(in_inner)?;
        if !auth.all_args().any(|kind| kind == "ed25519") {
            return Err(fault(auth.line, DescriptorFault::IntroAuth));
        }
    }
    if let Some(single) = section.at_most_one("single-onion-service").map_err(in_inner)? {
        single.first_args::<0>().map_err(in_inner)?;
    }
    if let Some(flow) = section.at_most_one("flow-control").map_err(in_inner)? {
        let [_versions, increment] = flow.first_args().map_err(in_inner)?;
        if netdoc::number::<u8>(increment).is_none_or(|cells| cells == 0) {
            return Err(fault(flow.line, DescriptorFault::FlowControl));
        }
    }
    let pow = parse_pow(section.all(POW_PARAMS))?;
    let kept = items.iter().take(length).filter(|item| item.keyword != POW_PARAMS);
    Ok((InnerHeader(kept.flat_map(|item| item.text.split('\n')).map(str::to_owned).collect()), pow))
}

/// `pow-params v1 SEED EFFORT EXPIRATION`, at most once; other types are ignored.
fn parse_pow<'d, 'a: 'd>(lines: impl Iterator<Item = &'d Item<'a>>) -> Result<Option<PowParams>, DescriptorError> {
    let mut known = None;
    for item in lines {
        let [kind] = item.first_args().map_err(in_inner)?;
        if kind == "v1" {
            let params = PowParams::read(item).filter(|_| known.is_none());
            known = Some(params.ok_or(fault(item.line, DescriptorFault::PowParams))?);
        }
    }
    Ok(known)
}

fn in_inner(error: netdoc::SyntaxError) -> DescriptorError {
    DescriptorError::syntax(Layer::Inner, error)
}
