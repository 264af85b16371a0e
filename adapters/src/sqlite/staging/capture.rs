use super::super::{error::Failure, lane::Lane};
pub(in crate::sqlite) fn begin(lane: &Lane) -> Result<(), Failure> {
    lane.begin()
}
