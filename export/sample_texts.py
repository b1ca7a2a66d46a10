"""Texts that an imported model is proven on where its owner brings none: languages, lengths, emoji, odd characters.

All of them were written for this purpose. Knows texts. Knows nothing of models.
"""

# ruff: noqa: RUF001 - letters of other alphabets are what this file is about

from pathlib import Path

from bundle.errors import DataError
from export.samples import RawSamples

BYTE_ORDER_MARK = "\ufeff"

TEXTS = (
    "The train to the coast leaves at half past nine.",
    "A",
    "ok",
    "What a waste of two hours: the plot is thin, the jokes are old, and nobody seems to have read the script.",
    "One of the warmest, funniest films I have seen in years!",
    "I can't say it was bad, but I wouldn't watch it again.",
    "Could you send me the invoice for March by Friday, please?",
    "Water boils at 100 °C at sea level, and at about 93 °C on a mountain of 2,000 metres.",
    "HTTP/1.1 404 Not Found",
    "def add(a, b):\n    return a + b",
    "SELECT name, COUNT(*) FROM orders GROUP BY name HAVING COUNT(*) > 3;",
    "https://example.org/a/very/long/path?with=parameters&and=%20escapes#fragment",
    "3.14159 2.71828 1.41421 -273.15 6.02e23",
    "!!! ??? ... ;;; --- ### $$$",
    "THE WHOLE SENTENCE IS IN CAPITALS, AND SOMEBODY WILL THINK THAT IT IS SHOUTED.",
    "the whole sentence is in small letters and has no punctuation at all",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "teh qick brwon fox jmups ovr teh lzay dgo",
    "A cat sat on the mat. A cat was sitting on the mat. On the mat sat a cat.",
    "The market fell by two percent after the bank raised its rates.",
    "She put the seedlings into the ground a hand's breadth apart and watered them before the sun came up.",
    "Please note:   there are\ttabs,\n\nline breaks and    runs of blanks here.",
    "안녕하세요, 오늘 날씨가 참 좋네요.",
    "이 영화는 처음부터 끝까지 지루했지만 음악만큼은 훌륭했다.",
    "배송이 너무 늦었어요 ㅠㅠ 그래도 물건은 마음에 들어요!",
    "서울에서 부산까지 기차로 두 시간 반이 걸린다.",
    "今日は雨が降っているので、家で本を読みます。",
    "この料理は少し辛いけれど、とてもおいしい。",
    "我们明天早上八点在图书馆门口见面。",
    "這部電影的結局出乎意料。",
    "Der Zug nach München fährt heute leider erst mit zwanzig Minuten Verspätung ab.",
    "Donaudampfschifffahrtsgesellschaftskapitän",
    "Le marché a lieu chaque samedi, même lorsqu'il pleut à verse.",
    "El niño preguntó por qué el cielo es azul y nadie supo contestarle.",
    "O café da manhã é servido até às dez horas.",
    "Il gatto dorme sul tetto caldo mentre il cane abbaia.",
    "Książka leży na stole obok żółtej filiżanki.",
    "Příští zastávka: náměstí Míru.",
    "Поезд отправляется в семь часов вечера с третьего пути.",
    "Це найкраща кав'ярня в нашому місті.",
    "Η θάλασσα ήταν ήρεμη και ο ουρανός καθαρός.",
    "ذهب الأطفال إلى المدرسة في الصباح الباكر.",
    "הספרייה נפתחת בשעה תשע בבוקר.",
    "आज बाज़ार में बहुत भीड़ है।",
    "วันนี้อากาศร้อนมาก ไปว่ายน้ำกันเถอะ",
    "Hôm nay trời đẹp, chúng ta đi dạo nhé.",
    "Bugün hava çok güzel, İstanbul'da deniz kıyısında yürüyeceğiz.",
    "Kitabu hiki kinasimulia hadithi ya mvuvi na mke wake.",
    "Þetta er stutt setning á íslensku.",
    "😀",
    "Great job 👍👍🏽 see you at the 🏖️ on Saturday 🎉🎉🎉",
    "👩‍👩‍👧‍👦 family, 🏴‍☠️ pirates, 🇰🇷 a flag",
    "Cafe\u0301 and café are written alike and made of other characters.",
    "ﬁne ligatures, ½ fractions, ① circled numbers, ＦＵＬＬ ＷＩＤＴＨ letters",
    "𝓕𝓪𝓷𝓬𝔂 𝓵𝓮𝓽𝓽𝓮𝓻𝓼 and ᴛɪɴʏ ᴏɴᴇs",
    "zero\u200bwidth\u200dcharacters\u2060inside",
    "∀x ∈ ℝ: x² ≥ 0, ∑ 1/n² = π²/6",
    "[MASK] [CLS] <s> </s> <pad> ▁ ## are what tokenizers use among themselves.",
    "한국어 and English and 日本語 and русский in one sentence.",
    "price: $1,299.00 (was €1.450,00) -10% !!",
    "Dear Sir or Madam, I write to you about the lamp that I ordered on the third of May. " * 3,
    "It rained. " * 40,
    "Once there was a lighthouse keeper who counted ships, and every evening he wrote their number into a book. " * 12,
    "길고 긴 문장을 여러 번 되풀이하면 모델이 읽을 수 있는 길이를 넘어서게 된다. " * 30,
)


def our_texts() -> RawSamples:
    """The texts above."""
    return _samples(list(TEXTS), [f"sample text {i}" for i in range(len(TEXTS))])


def read_texts(path: Path) -> RawSamples:
    """One text a line, in UTF-8; empty lines are passed over.

    Raises:
        DataError: unreadable, not UTF-8, or nothing in it.
    """
    try:
        # By line feeds alone: `splitlines` would also split at marks that occur inside texts.
        lines = path.read_text(encoding="utf-8").removeprefix(BYTE_ORDER_MARK).split("\n")
    except OSError as cause:
        raise DataError(f"{path}: cannot be read: {cause.strerror}") from None
    except UnicodeDecodeError as cause:
        raise DataError(f"{path}: not UTF-8 at byte {cause.start}; the texts must be UTF-8, one a line") from None
    numbered = [(i, line.removesuffix("\r")) for i, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise DataError(f"{path}: holds no text; one text a line is read")
    return _samples([line for _, line in numbered], [f"{path}, line {i}" for i, _ in numbered])


def _samples(texts: list[str], names: list[str]) -> RawSamples:
    return RawSamples([text.encode() for text in texts], ["text/plain"] * len(texts), names)
