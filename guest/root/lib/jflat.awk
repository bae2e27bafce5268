# JSON to calls of emit(PATH, VALUE), with paths such as `networks.0.routes.1.gateway`; emit is given by another file.
#
# Records are what stands between quotation marks, so every other one is a string, and the ones between are short.
# A line break inside of a string becomes a space, a character that is written as \uXXXX a question mark: no name or
# address that matters here holds any.
BEGIN { RS = "\"" }

within {
    string = string $0
    # An odd number of backslashes: the quotation mark is part of the string.
    if (match($0, /\\+$/) && RLENGTH % 2) { string = string "\""; next }
    within = 0
    if (string ~ /\\/) string = plain(string)
    if (kind[depth] == "{" && !keyed) { key[depth] = string; keyed = 1 }
    else emit(path(), string)
    next
}

{
    for (n = 1; n <= length($0); n++) {
        char = substr($0, n, 1)
        if (char == "{" || char == "[") {
            below = path()
            prefix[++depth] = below == "" ? "" : below "."
            kind[depth] = char
            count[depth] = 0
            keyed = 0
        }
        else if (char == "}" || char == "]") { end_of_word(); depth--; keyed = 1 }
        else if (char == ",") { end_of_word(); count[depth]++; keyed = 0 }
        else if (char !~ /[: \t\r\n]/) word = word char
    }
    within = 1
    string = ""
}

function path() { return depth ? prefix[depth] (kind[depth] == "{" ? key[depth] : count[depth]) : "" }

function end_of_word() {
    if (word != "") emit(path(), word)
    word = ""
}

function plain(text) {
    gsub(/\\\\/, "\001", text)
    gsub(/\\u..../, "?", text)
    gsub(/\\[bfnrt]/, " ", text)
    gsub(/\\/, "", text)
    gsub(/\001/, "\\", text)
    return text
}
