"""Every word of the chat's interface, in English and Chinese.

`words(language)` gives {name: text}; {…} in a text is filled in by whoever shows it. The questions themselves stand in
data/prompts/dimensions.yaml, the pictures' titles with the pictures.

A fault becomes one sentence by `explain(error, language)`: a `Told` brings its own in both languages.
"""

from __future__ import annotations

from helpers.core.errors import CaptionLabError, without_folders

_WORDS: dict[str, tuple[str, str]] = {
    # the page
    "title": ("Talk about a picture", "看图对话"),
    "language": ("Language", "语言"),
    "chat": ("Chat about a picture", "看图对话"),
    # the picture
    "picture": ("Picture", "图片"),
    "gallery": ("Pictures to choose from", "可选的图片"),
    "preview": ("The picture you talk about: {name}", "正在讨论的图片：{name}"),
    "upload": ("Upload a picture", "上传图片"),
    "drop": ("or drop one here", "或拖放到此处"),
    "camera": ("Use the camera", "使用摄像头"),
    "snap": ("Take the picture", "拍照"),
    "cancel": ("Cancel", "取消"),
    "camera_failed": ("The camera cannot be used: allow it in the browser, or upload a picture.", "无法使用摄像头：请在浏览器中允许，或上传图片。"),
    "receiving": ("Receiving {name} …", "正在接收 {name} …"),
    "upload_broken": ("{name} did not arrive whole: send it again.", "{name} 没有完整传到：请重新发送。"),
    # the conversation
    "conversation": ("Conversation", "对话"),
    "empty": ("Choose a picture and ask something about it.", "选择一张图片，然后提问。"),
    "question_was": ("You asked", "你的问题"),
    "again": ("Answer again", "重新回答"),
    "edit": ("Edit the question", "修改问题"),
    "truth": ("Show the truth", "显示真值"),
    "hide_truth": ("Hide the truth", "隐藏真值"),
    "truth_is": ("In the picture", "图中有"),
    "truth_missed": ("not named: {things}", "没有说到：{things}"),
    "truth_wrong": ("wrong: {things}", "有误：{things}"),
    "waiting": ("waiting for its turn", "等待中"),
    "loading": ("loading", "加载中"),
    "writing": ("writing", "回答中"),
    "complete": ("complete", "已完成"),
    "stopped": ("stopped", "已停止"),
    "cut": ("cut off at the allowed length", "达到长度上限"),
    "failed": ("failed", "失败"),
    "badge": ("{tokens} tokens · {seconds} s · {rate} tokens/s", "{tokens} 词元 · {seconds} 秒 · {rate} 词元/秒"),
    "badge_unknown": ("{seconds} s · tokens not told", "{seconds} 秒 · 词元数未知"),
    # asking
    "question": ("Your question", "你的问题"),
    "placeholder": ("Ask about the picture. Enter sends, Shift+Enter begins a new line.", "就图片提问。回车发送，Shift+回车换行。"),
    "ask": ("Ask", "提问"),
    "stop": ("Stop", "停止"),
    "editing": ("You are changing question {number}; sending replaces it and all after it.", "正在修改第 {number} 个问题；发送后将替换它及其后的内容。"),
    "suggestions": ("Suggested questions", "推荐问题"),
    "dimension_main": ("Whole picture", "整体"),
    "dimension_scene": ("Place", "地点"),
    "dimension_objects": ("Objects", "物体"),
    "dimension_relations": ("Positions", "位置"),
    "dimension_atmosphere": ("Light and weather", "光线天气"),
    "dimension_mood": ("Mood", "情绪"),
    # around the conversation
    "clear": ("Clear", "清空"),
    "save": ("Save", "保存"),
    "save_name": ("conversation", "conversation"),
    # models
    "models": ("Models", "模型"),
    "models_hint": ("Tick one, or several: they answer side by side, one after the other.", "勾选一个或多个：它们并列显示，依次回答。"),
    "model_absent": ("not loaded", "未加载"),
    "model_loading": ("loading …", "加载中 …"),
    "model_ready": ("in memory: {mib} MiB", "已占内存：{mib} MiB"),
    "model_remote": ("ready; no weights here", "就绪；不占权重内存"),
    "model_failed": ("not loaded. {why}", "未能加载。{why}"),
    "memory": ("Weights in memory: {mib} MiB; the whole kernel: {all} MiB.", "权重占用内存：{mib} MiB；整个内核：{all} MiB。"),
    "memory_shared": ("Weights in memory, once for all visitors: {mib} MiB; your own part: {all} MiB.", "权重占用内存（所有访客共用一份）：{mib} MiB；你自己的部分：{all} MiB。"),
    # decoding
    "decoding": ("How words are chosen", "解码方式"),
    "mode": ("Method", "方法"),
    "beam": ("Beam search", "束搜索"),
    "sampling": ("Sampling", "采样"),
    "beams": ("Beams", "束宽"),
    "beams_hint": ("Texts followed at once; 1 takes the likeliest word each time.", "同时跟踪的文本数；1 表示每次取最可能的词。"),
    "temperature": ("Temperature", "温度"),
    "temperature_hint": ("Lower is safer, higher more surprising.", "越低越稳妥，越高越出人意料。"),
    "top_p": ("Top-p", "Top-p"),
    "top_p_hint": ("Draw only from the likeliest words that make up this share.", "只从累计概率达到此值的最可能的词中抽取。"),
    "top_k": ("Top-k", "Top-k"),
    "top_k_hint": ("Draw from so many words at most; 0: from all.", "最多从这么多词中抽取；0 表示全部。"),
    "repetition_penalty": ("Repetition penalty", "重复惩罚"),
    "repetition_penalty_hint": ("Over 1, words that were there already become less likely.", "大于 1 时，已出现的词更不易再出现。"),
    "max_new_tokens": ("Length", "长度"),
    "max_new_tokens_hint": ("Tokens at most in one answer.", "一次回答最多的词元数。"),
    "seed": ("Seed", "随机种子"),
    "seed_hint": ("The same seed draws the same words; answering again takes the next one.", "相同的种子抽出相同的词；重新回答时使用下一个。"),
    "remember": ("Remember earlier turns", "记住之前的对话"),
    "remember_hint": ("The last {number} about the same picture. The tiny student was taught with two at most, so more may confuse it.",
                      "同一张图片的最近 {number} 轮。小模型训练时最多两轮，更多可能会让它混乱。"),
    # faults
    "no_question": ("Type a question first.", "请先输入问题。"),
    "no_picture": ("Choose a picture first.", "请先选择图片。"),
    "no_model": ("Tick a model first.", "请先勾选一个模型。"),
    "busy": ("An answer is being written: wait for it or stop it first.", "正在回答：请等待，或先停止。"),
    "question_long": ("The question is over {most} characters: shorten it.", "问题超过 {most} 个字符：请缩短。"),
    "out_of_memory": ("Memory ran out: untick a model or allow a shorter answer, then ask again.", "内存不足：请取消一个模型或缩短回答长度，然后重试。"),
    "unexpected": ("That failed ({what}): ask again, or choose another model.", "出错了（{what}）：请重试，或选择其他模型。"),
    "not_taken": ("Your question is not taken yet: the kernel is busy with something else.", "问题尚未被接收：内核正忙于其他任务。"),
    "ended": ("The kernel has ended, and this conversation with it: run the chat's cell again, or reload the page.",
              "内核已结束，这段对话也随之结束：请重新运行对话所在的单元格，或刷新页面。"),
}

LANGUAGES = ("en", "zh")


class Told(CaptionLabError):
    """A fault that is told in the interface's language. `words[language]` is the sentence; the message itself is the English one."""

    def __init__(self, en: str, zh: str):
        super().__init__(en)
        self.words = {"en": en, "zh": zh}


def words(language: str) -> dict[str, str]:
    """All texts in "en" or "zh"."""
    return {name: pair[LANGUAGES.index(language)] for name, pair in _WORDS.items()}


def explain(error: BaseException, language: str) -> str:
    """One sentence for a fault; also for one that nobody foresaw, and for memory that ran out, which torch reports in several ways."""
    if isinstance(error, Told):
        return error.words[language]
    if isinstance(error, CaptionLabError):
        return without_folders(str(error))
    say = words(language)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "not enough memory" in str(error):
        return say["out_of_memory"]
    first = str(error).strip().splitlines()
    return say["unexpected"].format(what=f"{type(error).__name__}: {without_folders(first[0])[:120]}" if first else type(error).__name__)
