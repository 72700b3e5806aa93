"""The Chinese half of the news world: names from familiar characters, and how a summary goes wrong."""

from __future__ import annotations

from tutelage.data.sources._news_language import Combined, Language, Quantity

# no character of a name is in any other word, so that a name is told apart at once
_SURNAMES = "李王张刘陈杨赵黄吴徐孙胡郭曹林罗郑梁许韩"
_GIVEN = "俊凯佳思雨宏春玉明华丽强芳杰敏涛辉军兰峰琳"
_ACTIONS = ["启用了新", "重建了老", "关闭了老", "参观了", "买下了", "设计了新"] + [
    "检查了",
    "粉刷了老",
    "租下了",
    "资助了新",
    "打扫了老",
    "称赞了",
]
_OBJECTS = ["图书馆", "博物馆", "学校", "医院", "公园", "大桥", "车站", "商场", "体育馆", "剧院"] + [
    "花园",
    "酒店",
    "工厂",
    "高塔",
    "面包店",
    "书店",
    "影院",
    "农场",
    "泳池",
    "画廊",
]

CHINESE = Language(
    code="zh",
    people=Combined((tuple(_SURNAMES), tuple(_GIVEN))),
    cities=Combined((tuple("青云金白临东南永梅宁丰景龙松"), tuple("山江州阳河海川湖原泉")), ending="市"),
    events=Combined((tuple(_ACTIONS), tuple(_OBJECTS))),
    days=("周一", "周二", "周三", "周四", "周五", "周六", "周日"),
    quantities=(
        Quantity(
            "{n}名来宾",
            "{n}名来宾到场",
            ("共有{n}名来宾到场。", "当天{n}名来宾到场。"),
            "来了多少名来宾？",
        ),
        Quantity(
            "{n}名志愿者",
            "{n}名志愿者帮忙",
            ("共有{n}名志愿者帮忙。", "当天{n}名志愿者帮忙。"),
            "有多少名志愿者帮忙？",
        ),
        Quantity(
            "{n}万元",
            "花费{n}万元",
            ("此事共花费{n}万元。", "前后花费{n}万元。"),
            "一共花费多少？",
        ),
        Quantity(
            "{n}封感谢信",
            "收到{n}封感谢信",
            ("事后共收到{n}封感谢信。", "不久收到{n}封感谢信。"),
            "收到多少封感谢信？",
        ),
    ),
    stop="。",
    space="",
    leads=(
        "{who}{when}在{where}{what}。",
        "{when}，{who}在{where}{what}。",
    ),
    fillers=(
        "天气很好，街上也很安静。",
        "当地乐队演奏了老歌。",
        "大家为此等了很久。",
        "附近的小店很晚才关门。",
        "孩子们挥着小纸旗。",
        "当地报纸作了长篇报道。",
        "现场备有热茶和点心。",
        "许多邻居拍了照片。",
        "简短的讲话赢得了掌声。",
        "这个计划早就公开了。",
    ),
    distractors=(
        "{who}坐在前排观看。",
        "{who}送来了祝福。",
        "去年{where}的类似计划没有成功。",
        "有些游客来自{where}。",
    ),
    summaries=("{who}{when}{where}{what}{amount}。", "{first}{who}{where}{what}{amount}。"),
    someone="有人",
    in_place="在{where}",
    on_day="{when}",
    day_first="{when}，",
    amount_tails=("，{amount}",),
    headlines=("{who}在{where}{what}", "{where}：{who}{what}"),
    bulletins=("早间新闻：\n{headlines}。", "午间新闻：\n{headlines}。", "晚间新闻：\n{headlines}。"),
    comma="；",
    recaps=("简单来说：\n{summary}", "一句话概括：\n{summary}", "总的来说：\n{summary}"),
    tails=(
        "这一天会被大家记住很久很久，谁也不会忘记。",
        "生活总是这样，结果到底如何，以后自然会知道。",
        "关于这件事还有很多话可说，以后也一定会有人说。",
        "总之这是不平常的一天，这样的日子往往都是如此。",
        "大家高高兴兴地回家，又累又开心，还有不少想法。",
    ),
    slurs=("大骗子", "懒鬼", "小丑", "笨蛋"),
    sneers=("惊天丑闻：", "震惊，你绝对想不到：", "八卦爆料："),
    unsafe=("骗子", "懒鬼", "小丑", "笨蛋", "丑闻", "震惊", "绝对想不到", "八卦", "爆料"),
    subjects=("市长", "一位年轻医生", "当地一家社团", "一位著名作家", "业主", "一位退休教师"),
    questions=(
        ("谁{what}？", "{who}。"),
        ("事情发生在哪座城市？", "在{where}。"),
        ("事情发生在哪一天？", "{when}。"),
    ),
    ask_summary="用一句话概括这条新闻：\n{article}",
    ask_question="{article}\n问题：{question}",
    ask_headline="为这条新闻写一个标题：\n{article}",
    ask_translation="翻译成英文：\n{sentence}",
    window=(16, 28),
)
