"""The words of the drawn world, in English and Chinese.

One place says which kinds of object, colours, settings, times and weathers exist and what each is
called. `scenes.py` draws from it, `standin.py` and `captions.py` speak with it, and `truth.py` reads
free text with it, so a word added here is drawn, said and understood at once.

Shape of the data: `KINDS["dog"]` is a `Kind`; every other table maps a name to a `Word`, which holds
the phrase that is spoken and the further phrases that are understood, per language.
"""

from __future__ import annotations

from dataclasses import dataclass

LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class Word:
    """A thing that can be said: one phrase a language to speak, several to understand."""

    en: str
    zh: str
    en_more: tuple[str, ...] = ()
    zh_more: tuple[str, ...] = ()

    def said(self, language: str) -> str:
        """The phrase a speaker of `language` ("en" or "zh") uses."""
        return self.en if language == "en" else self.zh

    def understood(self, language: str) -> tuple[str, ...]:
        """Every phrase of `language` that means this thing, the spoken one first."""
        return (self.en, *self.en_more) if language == "en" else (self.zh, *self.zh_more)


@dataclass(frozen=True)
class Kind:
    """A kind of object: its words, its measure word, the colours it comes in, and its place in the world.

    height: of a medium one, in pixels of a 224-pixel scene.  aspect: width over height.
    colours: the colours it is drawn in; empty where colour says nothing (a tree is green).
    group: animal, vehicle, building, plant, person or thing.
    most: the largest number of them that stand together.
    roles: "flies" (drawn in the sky), "floats" (on water), "holds" (something can be on it),
    "backs" (tall enough that something can stand in front of it), "rests" (small enough to be on something).
    """

    word: Word
    measure: str
    height: int
    aspect: float
    group: str
    colours: tuple[str, ...] = ()
    most: int = 1
    roles: frozenset[str] = frozenset()
    plural: str = ""
    garment: bool = False

    @property
    def plural_en(self) -> str:
        """The English plural."""
        return self.plural or self.word.en + "s"


COLOURS: dict[str, Word] = {
    "red": Word("red", "红色", ("crimson", "scarlet", "maroon"), ("红",)),
    "orange": Word("orange", "橙色", ("ginger",), ("橘色", "橙", "橘黄色", "橘")),
    "yellow": Word("yellow", "黄色", ("golden", "gold"), ("黄", "金黄色", "金色")),
    "green": Word("green", "绿色", (), ("绿", "翠绿色")),
    "blue": Word("blue", "蓝色", ("navy",), ("蓝", "天蓝色")),
    "purple": Word("purple", "紫色", ("violet", "lavender"), ("紫",)),
    "pink": Word("pink", "粉色", (), ("粉红色", "粉",)),
    "brown": Word("brown", "棕色", ("tan", "chestnut"), ("褐色", "咖啡色", "棕")),
    "black": Word("black", "黑色", (), ("黑", "乌黑")),
    "white": Word("white", "白色", (), ("白", "雪白")),
    "grey": Word("grey", "灰色", ("gray",), ("灰",)),
}

_BRIGHT = ("red", "blue", "yellow", "green", "orange", "purple", "pink")


def _kind(en: str, zh: str, measure: str, height: int, aspect: float, group: str, colours: tuple[str, ...] = (),
          most: int = 1, roles: str = "", plural: str = "", en_more: tuple[str, ...] = (),
          zh_more: tuple[str, ...] = (), garment: bool = False) -> Kind:
    return Kind(Word(en, zh, en_more, zh_more), measure, height, aspect, group, colours, most,
                frozenset(roles.split()), plural, garment)


KINDS: dict[str, Kind] = {
    "dog": _kind("dog", "狗", "只", 66, 1.2, "animal", ("brown", "black", "white", "grey"), 3, "rests", en_more=("puppy", "pup", "doggy", "hound", "canine", "terrier"), zh_more=("小狗", "犬", "狗狗", "幼犬")),
    "cat": _kind("cat", "猫", "只", 68, 0.9, "animal", ("orange", "black", "white", "grey"), 3, "rests", en_more=("kitten", "kitty", "tabby", "feline"), zh_more=("小猫", "猫咪", "猫儿")),
    "bird": _kind("bird", "鸟", "只", 48, 1.4, "animal", ("red", "blue", "yellow", "black"), 4, "flies rests", en_more=("crow", "blackbird", "songbird", "sparrow", "seagull", "gull", "pigeon", "parrot"), zh_more=("小鸟", "鸟儿", "飞鸟", "海鸥", "乌鸦", "麻雀", "鸽子")),
    "horse": _kind("horse", "马", "匹", 84, 1.1, "animal", ("brown", "black", "white"), 2, "", en_more=("pony", "foal", "stallion", "mare"), zh_more=("马儿", "马匹", "小马", "骏马")),
    "cow": _kind("cow", "牛", "头", 66, 1.4, "animal", ("brown", "black", "white"), 2, "", en_more=("cattle", "calf", "bull"), zh_more=("奶牛", "黄牛", "公牛", "母牛", "小牛")),
    "sheep": _kind("sheep", "羊", "只", 62, 1.25, "animal", ("white", "brown", "grey"), 4, "", plural="sheep", en_more=("lamb", "ewe"), zh_more=("绵羊", "小羊", "羊羔", "羔羊", "山羊")),
    "duck": _kind("duck", "鸭子", "只", 58, 1.15, "animal", ("yellow", "white", "brown"), 4, "rests", en_more=("duckling", "mallard"), zh_more=("鸭", "小鸭", "小鸭子")),
    "rabbit": _kind("rabbit", "兔子", "只", 74, 0.8, "animal", ("white", "brown", "grey"), 3, "rests", en_more=("bunny", "hare"), zh_more=("兔", "小兔", "野兔")),
    "butterfly": _kind("butterfly", "蝴蝶", "只", 50, 1.2, "animal", ("orange", "blue", "purple", "pink", "yellow"), 4, "flies", plural="butterflies"),
    "elephant": _kind("elephant", "大象", "头", 92, 1.3, "animal", (), 2, zh_more=("小象",)),
    "car": _kind("car", "汽车", "辆", 56, 1.95, "vehicle", (*_BRIGHT[:5], "white", "black"), 2, "holds", en_more=("automobile", "sedan", "hatchback", "saloon"), zh_more=("轿车", "小汽车", "小轿车", "小车", "小客车", "的车")),
    "bus": _kind("bus", "公交车", "辆", 74, 1.85, "vehicle", ("red", "blue", "yellow", "green", "orange", "purple"), 1, "backs", plural="buses", en_more=("coach", "minibus", "double-decker"), zh_more=("巴士", "公共汽车", "客车", "大巴", "校车", "公交")),
    "truck": _kind("truck", "卡车", "辆", 68, 1.8, "vehicle", ("red", "blue", "yellow", "green", "orange", "white"), 1, "backs", en_more=("lorry", "pickup", "pickup truck"), zh_more=("货车", "皮卡", "大卡车", "小卡车")),
    "bicycle": _kind("bicycle", "自行车", "辆", 62, 1.5, "vehicle", ("red", "blue", "green", "black", "yellow"), 2, "", en_more=("bike", "cycle", "pushbike"), zh_more=("单车", "脚踏车")),
    "boat": _kind("boat", "船", "艘", 80, 1.0, "vehicle", ("red", "blue", "white", "brown", "green"), 3, "floats", en_more=("sailboat", "ship", "sailing boat", "yacht", "vessel", "rowboat", "dinghy"), zh_more=("帆船", "小船", "渔船", "游艇", "轮船", "船只", "小艇")),
    "airplane": _kind("airplane", "飞机", "架", 46, 2.0, "vehicle", ("white", "red", "blue", "yellow"), 2, "flies", en_more=("plane", "aeroplane", "aircraft", "jet", "airliner"), zh_more=("客机",)),
    "balloon": _kind("balloon", "热气球", "个", 80, 0.72, "vehicle", _BRIGHT, 3, "flies", en_more=("hot-air balloon", "hot air balloon"), zh_more=("气球",)),
    "house": _kind("house", "房子", "座", 104, 1.05, "building", ("red", "blue", "yellow", "white", "pink", "green"), 2, "backs holds", en_more=("cottage", "cabin", "hut"), zh_more=("房屋", "小屋", "屋子", "木屋", "小木屋", "农舍", "民居")),
    "castle": _kind("castle", "城堡", "座", 112, 1.1, "building", (), 1, "backs", en_more=("fortress",), zh_more=("古堡",)),
    "lighthouse": _kind("lighthouse", "灯塔", "座", 132, 0.42, "building", ("red", "blue", "black"), 1, "backs"),
    "tent": _kind("tent", "帐篷", "顶", 70, 1.4, "building", ("orange", "green", "blue", "red", "yellow", "purple"), 2, "backs", en_more=("teepee",), zh_more=("帐蓬",)),
    "tree": _kind("tree", "树", "棵", 118, 0.75, "plant", (), 4, "backs", en_more=("pine", "fir", "oak", "evergreen", "conifer"), zh_more=("大树", "树木", "松树", "小树", "绿树")),
    "palm": _kind("palm tree", "棕榈树", "棵", 122, 0.8, "plant", (), 3, "backs", en_more=("palm",), zh_more=("椰子树", "椰树")),
    "cactus": _kind("cactus", "仙人掌", "棵", 88, 0.68, "plant", (), 3, "", plural="cactuses", en_more=("cacti",)),
    "flower": _kind("flower", "花", "朵", 76, 0.62, "plant", ("red", "yellow", "pink", "purple", "white"), 4, "", en_more=("blossom", "tulip", "daisy", "bloom"), zh_more=("花朵", "鲜花", "小花", "花儿", "花卉", "郁金香", "雏菊")),
    "mushroom": _kind("mushroom", "蘑菇", "个", 64, 0.95, "plant", ("red", "brown", "white"), 4, "", en_more=("toadstool",), zh_more=("菌菇",)),
    "man": _kind("man", "男人", "个", 98, 0.42, "person", _BRIGHT[:5] + ("black",), 2, "", plural="men", en_more=("guy", "gentleman"), zh_more=("男子", "男士", "男性"), garment=True),
    "woman": _kind("woman", "女人", "个", 96, 0.48, "person", ("red", "yellow", "green", "purple", "pink", "blue", "white"), 2, "", plural="women", en_more=("lady",), zh_more=("女子", "女士", "女性", "妇女"), garment=True),
    "child": _kind("child", "孩子", "个", 80, 0.56, "person", _BRIGHT, 3, "", plural="children", en_more=("kid", "boy", "girl", "toddler"), zh_more=("小孩", "儿童", "小朋友", "男孩", "女孩", "小男孩", "小女孩", "孩童"), garment=True),
    "ball": _kind("ball", "球", "个", 54, 1.0, "thing", _BRIGHT, 4, "rests", en_more=("football", "basketball"), zh_more=("皮球", "足球", "小球", "篮球", "沙滩球")),
    "umbrella": _kind("umbrella", "雨伞", "把", 70, 1.05, "thing", _BRIGHT, 2, "", en_more=("parasol", "sunshade"), zh_more=("伞", "阳伞", "遮阳伞", "沙滩伞")),
    "bench": _kind("bench", "长椅", "张", 52, 1.9, "thing", ("brown", "green", "red", "white"), 1, "holds", plural="benches", zh_more=("长凳", "椅子", "公园椅")),
    "table": _kind("table", "桌子", "张", 56, 1.7, "thing", ("brown", "white", "black"), 1, "holds", en_more=("desk",), zh_more=("餐桌", "木桌", "小桌", "书桌", "桌")),
    "box": _kind("box", "箱子", "个", 58, 1.1, "thing", ("brown", "red", "blue", "green", "purple"), 3, "holds rests", plural="boxes", en_more=("crate", "carton"), zh_more=("盒子", "纸箱", "木箱", "大箱子")),
    "cup": _kind("cup", "杯子", "个", 56, 1.0, "thing", ("white", "red", "blue", "yellow", "green"), 3, "rests", en_more=("mug", "teacup"), zh_more=("茶杯", "水杯", "马克杯", "咖啡杯")),
    "kite": _kind("kite", "风筝", "只", 88, 0.62, "thing", ("red", "yellow", "green", "blue", "purple", "pink"), 3, "flies", zh_more=("纸鸢",)),
}

# Kinds that pretraining shows rarely, so that fine-tuning has something to learn.
RARE_KINDS = ("rabbit", "castle", "mushroom", "kite")

_OUTDOOR_FLIERS = "bird butterfly airplane balloon kite"
SETTINGS: dict[str, Word] = {
    "park": Word("park", "公园", ("lawn", "meadow", "garden"), ("草地", "草坪", "花园")),
    "beach": Word("beach", "海滩", ("seaside", "shore", "coast"), ("沙滩", "海边")),
    "street": Word("street", "街道", ("city", "road", "town"), ("城市", "马路", "街上", "街头")),
    "farm": Word("farm", "农场", ("field", "countryside", "farmland"), ("田野", "农田", "乡村")),
    "desert": Word("desert", "沙漠", ("dunes",), ("荒漠", "沙丘")),
    "forest": Word("forest", "森林", ("woods", "woodland"), ("树林", "林间")),
    "mountains": Word("mountains", "山地", ("mountain", "mountainside", "hills"), ("高山", "雪山", "山脚", "山区")),
    "harbour": Word("harbour", "港口", ("harbor", "dock", "quay", "pier", "port"), ("码头", "海港")),
    "room": Word("living room", "客厅", ("room", "indoors"), ("室内", "房间", "屋内")),
}

# Which kinds are at home in which setting (every kind in at least two).
KINDS_OF_SETTING: dict[str, tuple[str, ...]] = {
    "park": tuple("dog cat bird duck rabbit butterfly bicycle balloon tree flower mushroom man woman child ball umbrella bench table kite airplane house box".split()),
    "beach": tuple("dog bird duck butterfly elephant boat airplane balloon lighthouse castle tent palm man woman child ball umbrella bench table kite horse cup box".split()),
    "street": tuple("dog cat bird car bus truck bicycle airplane balloon house tree man woman child ball umbrella bench box".split()),
    "farm": tuple("dog cat bird horse cow sheep duck rabbit butterfly car truck house tree flower man woman child box balloon kite table".split()),
    "desert": tuple("horse elephant bird car truck airplane balloon tent palm cactus man woman castle kite box umbrella".split()),
    "forest": tuple("dog bird rabbit butterfly elephant horse cow tent tree flower mushroom man woman child bench bicycle box cat castle table cup".split()),
    "mountains": tuple("dog bird horse cow sheep rabbit airplane balloon house castle tent car bus man woman child kite flower mushroom".split()),
    "harbour": tuple("dog cat bird duck boat airplane balloon lighthouse house truck bicycle man woman child bench box umbrella palm kite car bus".split()),
    "room": tuple("dog cat rabbit man woman child ball table bench box cup umbrella cactus flower bird mushroom butterfly".split()),
}

TIMES: dict[str, Word] = {
    "day": Word("daytime", "白天", ("day", "daylight", "noon", "morning", "afternoon"), ("日间", "中午", "上午", "下午")),
    "sunset": Word("sunset", "傍晚", ("dusk", "evening", "sundown"), ("黄昏", "日落", "夕阳")),
    "night": Word("night", "夜晚", ("nighttime", "midnight"), ("夜里", "晚上", "夜间", "深夜")),
}

WEATHERS: dict[str, Word] = {
    "clear": Word("clear", "晴朗", ("sunny", "fine", "cloudless"), ("晴天", "晴空", "阳光明媚")),
    "cloudy": Word("cloudy", "多云", ("overcast", "clouds"), ("阴天", "阴云", "云层")),
    "rainy": Word("rainy", "下雨", ("rain", "raining"), ("雨天", "雨中")),
    "snowy": Word("snowy", "下雪", ("snow", "snowing"), ("雪天", "雪花")),
}

WEATHERS_OF_SETTING: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(SETTINGS, ("clear", "cloudy", "rainy", "snowy")),
    "beach": ("clear", "cloudy", "rainy"),
    "desert": ("clear", "cloudy"),
    "harbour": ("clear", "cloudy", "rainy"),
}

SIZES: dict[str, Word] = {
    "small": Word("small", "小", ("little", "tiny")),
    "medium": Word("", ""),
    "large": Word("large", "大", ("big", "huge")),
}

RELATIONS: dict[str, Word] = {
    "left of": Word("to the left of", "左边", ("left of", "on the left of"), ("左侧", "左面")),
    "right of": Word("to the right of", "右边", ("right of", "on the right of"), ("右侧", "右面")),
    "above": Word("above", "上方", ("over",), ("上空",)),
    "in front of": Word("in front of", "前面", ("before",), ("前方",)),
    "on": Word("on", "上面", ("on top of",), ("上",)),
}

# What a kind is found doing, for descriptions of actions: (one, many, Chinese).
ACTIONS: dict[str, tuple[str, str, str]] = {
    "animal": ("is standing still", "are standing still", "静静地站着"),
    "vehicle": ("is waiting", "are waiting", "停着"),
    "building": ("stands firm", "stand firm", "矗立着"),
    "plant": ("is growing", "are growing", "生长着"),
    "person": ("is standing", "are standing", "站着"),
    "thing": ("is lying there", "are lying there", "摆放着"),
    "flies": ("is flying", "are flying", "飞着"),
    "floats": ("is floating on the water", "are floating on the water", "漂在水面上"),
}

NUMBERS: dict[int, Word] = {
    1: Word("a", "一", ("an", "one", "1", "single"), ("1",)),
    2: Word("two", "两", ("2", "a pair of", "a couple of"), ("2", "二")),
    3: Word("three", "三", ("3",), ("3",)),
    4: Word("four", "四", ("4",), ("4",)),
}
