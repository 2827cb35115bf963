"""Texts that try a reader of markup: tags whole, damaged, look-alike, and characters of every kind."""

from hypothesis import strategies as st

TAGS = (
    *("<image>", "<regionfeat>", "<ground>", "</ground>", "<objects>", "</objects>", "<object>"),
    *("<think>", "</think>", "<answer>", "</answer>", "<region0>", "<region1>", "<region2>"),
    *("<region7>", "<region99>", "<region007>", "<Region1>", f"<region{'9' * 30}>", "<regionfeat"),
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|image_pad|>", "<|vision_start|>"),
    *("<|vision_end|>", "<|video_pad|>", "<tool_call>", "</tool_call>", "</s>", "<0x0A>"),
)
# Upper and lower case, letters that fold to ASCII ones, full width, joiners, marks that compose.
LOOKALIKES = (
    *("<IMAGE>", "<\u0131mage>", "<RegionFeat>", "</OBJECTS>", "<object\u017f>", "<thin\u212a>"),
    *("\uff1cimage\uff1e", "<im\u200bage>", "<\u200dimage>", "<image\u00ad>", "<\u202eegami>"),
    *("<reg\u0131on1>", "<region\u0661>", "<region\uff11>", "<region1\u0338>", "<\u0338image>"),
    *(
        "<|im_end|\u0338>",
        "< image>",
        "<\u00a0image>",
        "<\x00image>",
        "<\x1cimage>",
        "<\ufeffimage>",
    ),
)
BITS = (
    *("<", ">", "</", "/", "|", "<|", "|>", "<region", "region", "1", "12", "3,000", " ", "\n"),
    *("\t", "\r", "None", "none", "no", "two", "cat", "red cup", ":", ",", ".", "=", "<3", "{}"),
    *("\x00", "\u0338", "\u0301", "\u200b", "\u202e", "\u05d0", "\U0001f431", "e\u0301", "\u1100"),
    *("\u1161", "\ud800", "\udcff", "\\1", "%s", "\u2039", "\u203a", "\u2028", "\x85", "\x1c"),
)
PIECES = st.sampled_from(TAGS + LOOKALIKES + BITS)
HOSTILE = st.one_of(
    st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=25).map("".join),
    st.lists(st.sampled_from(TAGS + BITS), max_size=25).map("".join),
    st.text(),
)
# Without angle brackets no text is markup.
HARMLESS = st.text(st.characters(exclude_characters="<>", exclude_categories=()), max_size=20)
PHRASES = HARMLESS.map(lambda text: " ".join(text.split())).filter(bool)


def region_tokens(regions: list[int]) -> str:
    return "".join(f"<region{region}>" for region in regions)


def pair(label: str, regions: list[int]) -> str:
    return f"<ground>{label}</ground><objects>{region_tokens(regions)}</objects>"
