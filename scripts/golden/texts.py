"""Small English and Chinese ranking sets, from templates: label = how many of the query's two properties a document has."""

import random

ENGLISH = {
    "products": {
        "queries": ["{a} {b}", "cheap {b} in {a}", "where to buy a {a} {b}?"],
        "a": ["red", "blue", "green", "black", "white", "yellow"],
        "b": ["running shoe", "coffee cup", "desk lamp", "winter jacket", "garden chair", "leather bag"],
        "documents": [
            "This {a} {b} is light, strong and easy to clean.",
            "Our best {b}: now in {a}, with free delivery.",
            "A {a} {b} for everyday use, 2 years of guarantee.",
            "{b} in {a} - made in Europe, sold since 1998.",
            "Customers like the {a} {b}, but it isn't cheap!",
        ],
    },
    "animals": {
        "queries": ["{b} that lives in the {a}", "{a} {b}", "how does a {b} survive in the {a}?"],
        "a": ["forest", "river", "desert", "mountains", "ocean", "city"],
        "b": ["bird", "fish", "snake", "horse", "cat", "spider"],
        "documents": [
            "The {b} of the {a} sleeps by day and hunts at night.",
            "In the {a} you can find a small {b} with brown eyes.",
            "Scientists have discovered a new {b} in the {a}.",
            "A {b} needs food and water; the {a} gives both.",
            "Life in the {a}: why the {b} is never alone.",
        ],
    },
}

CHINESE = {
    "products": {
        "queries": ["{a}{b}", "便宜的{a}{b}", "哪里可以买到{a}的{b}？"],
        "a": ["红色", "蓝色", "绿色", "黑色", "白色", "黄色"],
        "b": ["跑鞋", "咖啡杯", "台灯", "外套", "椅子", "皮包"],
        "documents": [
            "这款{a}{b}轻便结实，容易清洗。",
            "本店最好的{b}，现在有{a}，免费送货。",
            "日常使用的{a}{b}，保修2年。",
            "{a}的{b}，欧洲制造，始于1998年。",
            "顾客喜欢这个{a}{b}，但是价格不便宜！",
        ],
    },
    "animals": {
        "queries": ["生活在{a}里的{b}", "{a}{b}", "{b}怎么在{a}中生存？"],
        "a": ["森林", "河流", "沙漠", "山区", "海洋", "城市"],
        "b": ["小鸟", "鱼", "蛇", "马", "猫", "蜘蛛"],
        "documents": [
            "{a}里的{b}白天睡觉，晚上出来活动。",
            "在{a}可以看到一种棕色眼睛的{b}。",
            "科学家在{a}发现了新的{b}。",
            "{b}需要食物和水，{a}两样都有。",
            "{a}的生活：为什么{b}从不孤单。",
        ],
    },
}

QUERIES_PER_TOPIC = 12
MATCHES = [2, 2, 1, 1, 1, 0, 0, 0]  # labels of a query's documents


def _capitalize(text):
    return text[:1].upper() + text[1:]


def _document(rng, topic, a, b, label):
    other_a = rng.choice([x for x in topic["a"] if x != a])
    other_b = rng.choice([x for x in topic["b"] if x != b])
    if label == 2:
        chosen = (a, b)
    elif label == 0:
        chosen = (other_a, other_b)
    else:
        chosen = rng.choice([(a, other_b), (other_a, b)])
    return _capitalize(rng.choice(topic["documents"]).format(a=chosen[0], b=chosen[1]))


def rows(language, seed):
    """[(query, document, label)], eight documents a query."""
    rng = random.Random(seed)
    result = []
    for topic in language.values():
        pairs = [(a, b) for a in topic["a"] for b in topic["b"]]
        for a, b in rng.sample(pairs, QUERIES_PER_TOPIC):
            query = rng.choice(topic["queries"]).format(a=a, b=b)
            seen = set()
            for label in rng.sample(MATCHES, len(MATCHES)):
                document = _document(rng, topic, a, b, label)
                while document in seen:
                    document = _document(rng, topic, a, b, label)
                seen.add(document)
                result.append((query, document, label))
    return result


def write_tsv(path, table):
    lines = ["query\tdocument\tlabel"] + [f"{q}\t{d}\t{label}" for q, d, label in table]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
