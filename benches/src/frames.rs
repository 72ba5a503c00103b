pub(crate) fn compare(_: &crate::arguments::Arguments) -> Result<bool, String> {
    Ok(true)
}
