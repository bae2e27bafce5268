# The host name from meta_data.json (with jflat.awk).
function emit(path, text) { if (path == "hostname") print text }
