"""The report's words in English and Chinese; `t("key")` writes both and the page shows one (no network, no reload)."""

from __future__ import annotations

from markupsafe import Markup, escape

WORDS: dict[str, tuple[str, str]] = {
    "title": ("Training report", "训练报告"),
    "made": ("written", "生成于"),
    "contents": ("On this page", "本页内容"),
    "summary": ("In short", "概要"),
    "alarms": ("Alarms", "警报"),
    "compared": ("Runs side by side", "多次训练对比"),
    "compared_note": (
        "Where each run ended: its score against the distance it moved. Further up at the same distance is better; the "
        "line joins one method’s runs.",
        "每次训练的终点：得分与偏离距离。距离相同时越高越好；连线为同一方法的各次训练。",
    ),
    "compared_best": (
        "Highest hidden quality: {gold}, {run}, at {kl} nats.",
        "隐藏质量分最高：{gold}（{run}，偏离 {kl} nat）。",
    ),
    "root_kl": ("√KL", "√KL"),
    "method": ("Method", "方法"),
    "setting": ("Setting", "设置"),
    "curves": ("Curves", "训练曲线"),
    "quality": ("Quality", "质量评测"),
    "answers": ("Before and after", "训练前后对比"),
    "raters": ("What the raters saw", "评分者所见"),
    "sources": ("Every number and its source", "全部数字及出处"),
    "theme": ("Light / dark", "浅色 / 深色"),
    "other_language": ("中文", "English"),
    "verdict_win": (
        "Blind raters prefer the trained model in {rate} of comparisons (95% interval from {low}).",
        "盲评中，评分者在 {rate} 的比较里更喜欢训练后的模型（95% 区间下限 {low}）。",
    ),
    "verdict_no_win": (
        "Blind raters prefer the trained model in {rate} of comparisons; the 95% interval starts at {low}, so no "
        "preference is proven.",
        "盲评中，评分者在 {rate} 的比较里更喜欢训练后的模型；95% 区间下限为 {low}，尚不能证明有偏好。",
    ),
    "verdict_gain": (
        "Hidden quality rose from {before} to {after}: {gain}, at least {low} with 95% confidence.",
        "隐藏质量分从 {before} 升至 {after}：{gain}，95% 置信下限 {low}。",
    ),
    "verdict_no_gain": (
        "Hidden quality went from {before} to {after}: {gain}; the 95% interval starts at {low}, so no gain is proven.",
        "隐藏质量分从 {before} 变为 {after}：{gain}；95% 区间下限为 {low}，尚不能证明有提升。",
    ),
    "verdict_none": (
        "No evaluation was found; this page shows how training went.",
        "未找到评测结果；本页仅展示训练过程。",
    ),
    "gold": ("Hidden quality", "隐藏质量分"),
    "gold_note": (
        "gain {range} (95%); the raters’ true taste, 0–1, which no model sees",
        "提升 {range}（95%）；评分者的真实口味，0–1，模型从未见过",
    ),
    "win_rate": ("Blind win rate", "盲评胜率"),
    "win_rate_note": ("against the baseline; ties count half; line = 50%", "对比基线模型；平局计半；竖线为 50%"),
    "reward_accuracy": ("Reward model accuracy", "奖励模型准确率"),
    "reward_accuracy_note": (
        "held-out pairs; lines: length-only baseline {length}, rater agreement {ceiling}",
        "留出数据；竖线：仅看长度 {length}，评分者一致率 {ceiling}",
    ),
    "stop_rate": ("Stop rate", "自行停止率"),
    "stop_rate_note": ("answers the model ended itself; line = 0.95", "模型自行结束的回答比例；竖线为 0.95"),
    "kl": ("Distance moved", "偏离距离"),
    "kl_note": ("sequence KL to the reference, nats per answer", "与参考模型的序列 KL，每个回答（nat）"),
    "seconds": ("Time and memory", "时间与内存"),
    "seconds_note": ("wall clock, peak memory; seed {seed}", "总用时，内存峰值；种子 {seed}"),
    "no_alarms": ("No alarm was raised in any of these runs.", "所有训练均未触发警报。"),
    "source": ("source", "出处"),
    "step": ("step", "步"),
    "steps": ("steps", "步"),
    "measure": ("measure", "指标"),
    "before": ("before", "训练前"),
    "after": ("after", "训练后"),
    "gain": ("change", "变化"),
    "interval": ("95% interval", "95% 区间"),
    "reference": ("reference", "参考答案"),
    "prompt": ("prompt", "提示"),
    "better_up": ("higher is better", "越高越好"),
    "better_down": ("lower is better", "越低越好"),
    "in_order": (
        "The first {n} of {all} held-out prompts of each language, in file order: not hand-picked.",
        "每种语言留出提示的前 {n} 个（共 {all} 个），按文件顺序，未经挑选。",
    ),
    "more": ("{n} more", "还有 {n} 个"),
    "blind_note": (
        "Raters saw the answers only, in an order shuffled for each of them. The models’ names are revealed here and "
        "were never shown.",
        "评分者只看到回答，每人看到的顺序随机打乱。模型名称仅在此处揭晓，评分时从未显示。",
    ),
    "kind_pair": ("Which is better?", "哪个更好？"),
    "kind_ranking": ("Rank them", "请排序"),
    "kind_scores": ("Score each aspect", "请逐项打分"),
    "judged_by": ("Judged by", "评分结果"),
    "tie": ("tie", "平局"),
    "both_bad": ("both bad", "都不好"),
    "left_was": ("left: {side}", "左侧：{side}"),
    "rater": ("rater", "评分者"),
    "worth_note": (
        "{n} pairs judged in person ({ties} ties, {skipped} skipped). How often the choice was the same, on these "
        "pairs only, ties left out; line = 50%, chance.",
        "本人评判了 {n} 对（平局 {ties}，跳过 {skipped}）。下表为选择一致的比例：仅限这些题目，不计平局；"
        "竖线为 50%（随机水平）。",
    ),
    "worth_others": ("the simulated raters", "模拟评分者"),
    "worth_with_raters": ("as the simulated raters", "与模拟评分者一致"),
    "worth_with_taste": ("as the hidden taste", "与隐藏品味一致"),
    "more_curves": ("All metrics of this run", "本次训练的全部指标"),
    "training_samples": ("Answers while training", "训练过程中的回答"),
    "config": ("Configuration, with the origin of each value", "配置及每个值的来源"),
    "lineage": ("Lineage: data, parents, versions", "谱系：数据、前身、版本"),
    "start_level": ("Dotted: the start.", "虚线：起点。"),
    "held_out": ("Grey: held-out prompts.", "灰色：留出的提示。"),
    "chart_rewards": ("Proxy reward and hidden quality", "代理奖励与隐藏质量"),
    "frontier": ("Score against distance", "得分与偏离距离"),
    "frontier_note": (
        "Each dot is one step, later ones darker. Proxy up while quality falls would be over-optimisation.",
        "每点为一步，颜色越深越晚；若代理奖励上升而质量下降，即为过度优化。",
    ),
    "over_yes": (
        "Over-optimised: quality fell by {lost} after step {step} while the proxy reward went on rising.",
        "出现过度优化：第 {step} 步之后代理奖励继续上升，而质量下降了 {lost}。",
    ),
    "over_no": (
        "No over-optimisation: quality did not fall while the proxy rose.",
        "未见过度优化：代理奖励上升时质量未下降。",
    ),
    "chart_loss": ("Loss", "损失"),
    "chart_proxy": ("Proxy reward (reward model)", "代理奖励（奖励模型）"),
    "chart_gold": ("Hidden quality", "隐藏质量分"),
    "chart_kl": ("KL to the reference, nats per answer", "与参考模型的 KL，每个回答（nat）"),
    "chart_entropy": ("Entropy per token, nats", "每词元熵（nat）"),
    "chart_length": ("Answer length, tokens", "回答长度（词元）"),
    "chart_stop": ("Stop rate", "自行停止率"),
    "chart_accuracy": ("Accuracy", "准确率"),
    "chart_clip": ("Clip fraction", "裁剪比例"),
    "chart_value": ("Explained variance of the critic", "价值网络解释方差"),
    "chart_margin": ("Reward margin", "奖励间隔"),
    "chart_perplexity": ("Held-out perplexity", "留出集困惑度"),
    "chart_gradient": ("Gradient norm before clipping", "裁剪前的梯度范数"),
    "chart_rate": ("Learning rate", "学习率"),
    "m_gold": ("hidden quality", "隐藏质量分"),
    "m_reward": ("reward model score", "奖励模型得分"),
    "m_rouge1": ("ROUGE-1", "ROUGE-1"),
    "m_rouge2": ("ROUGE-2", "ROUGE-2"),
    "m_rougeL": ("ROUGE-L", "ROUGE-L"),
    "m_bleu": ("BLEU", "BLEU"),
    "m_chrf": ("chrF", "chrF"),
    "m_perplexity": ("perplexity under the base model", "基座模型困惑度"),
    "m_distinct_1": ("distinct-1", "distinct-1"),
    "m_distinct_2": ("distinct-2", "distinct-2"),
    "m_self_bleu": ("self-BLEU", "self-BLEU"),
    "m_length": ("length, words or characters", "长度（词或字）"),
    "m_stop_rate": ("stop rate", "自行停止率"),
    "m_empty": ("empty answers", "空回答比例"),
    "m_kl": ("sequence KL to the reference", "与参考模型的序列 KL"),
    "m_win_rate": ("blind win rate", "盲评胜率"),
    "m_reward_accuracy": ("reward model accuracy", "奖励模型准确率"),
    "m_length_only_accuracy": ("length-only accuracy", "仅看长度的准确率"),
    "m_reward_ece": ("calibration error (ECE)", "校准误差（ECE）"),
    "m_agreement": ("agreement of these raters", "本次评分者一致率"),
    "m_rater_agreement": ("agreement of the training raters", "训练评分者一致率"),
    "m_win_rate/other_raters": ("… as other raters would judge", "……换一批评分者"),
    "m_left": ("decided for the left side", "偏向左侧的比例"),
    "lang_en": ("English", "英文"),
    "lang_zh": ("Chinese", "中文"),
    "unreadable": ("{n} unreadable lines were left out of {file}.", "{file} 中有 {n} 行无法读取，已略过。"),
    "foot": (
        "One self-contained file: nothing is loaded from a network. Intervals are 95%.",
        "单个自包含文件，不加载任何网络资源。区间均为 95%。",
    ),
}


def t(key: str, **values: object) -> Markup:
    """The words of `key` in both languages, `values` filled in and escaped; a key without words is shown as it is."""
    english, chinese = WORDS.get(key, (key, key))
    if values:
        english, chinese = english.format(**values), chinese.format(**values)
    if english == chinese:
        return escape(english)
    return Markup(
        f'<span class="en" lang="en">{escape(english)}</span><span class="zh" lang="zh">{escape(chinese)}</span>'
    )
